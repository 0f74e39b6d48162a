import type { Lookup } from './shared-lookup.ts';

/** How many lookups may wait behind one that hangs. */
const maxWaiting = 1_000;

/**
 * Runs one lookup at a time, for hosts that the operator did not write down. The lookups of all upstreams share a few threads (see
 * {@link createSharedLookup}): an upstream that names ever more hosts whose lookup hangs must not take them all.
 * @returns a lookup that rejects with EAI_AGAIN when too many wait.
 */
export function createLimitedLookup(lookup: Lookup): Lookup {
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  return (hostname, wanted) => {
    if (waiting >= maxWaiting) return Promise.reject(tooMany(hostname));
    waiting += 1;
    const found = last
      .then(() => lookup(hostname, wanted))
      .finally(() => {
        waiting -= 1;
      });
    last = found.catch(() => {}); // The caller handles the failure.
    return found;
  };
}

function tooMany(hostname: string): Error {
  const message = `${hostname} is not looked up: too many lookups of its upstream wait`;
  return Object.assign(new Error(message), { code: 'EAI_AGAIN' });
}
