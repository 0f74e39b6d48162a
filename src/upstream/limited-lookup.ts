import type { Lookup } from './shared-lookup.ts';

/** How many lookups may wait for one that hangs. */
const maxWaiting = 1_000;

/**
 * One lookup at a time. There are two threads for those of all upstreams (see {@link createSharedLookup}): an upstream that sends clients
 * to ever more hosts whose lookup hangs must leave one to the others.
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
    last = found.catch(() => {}); // Told to whoever asked.
    return found;
  };
}

function tooMany(hostname: string): Error {
  const message = `${hostname} is not looked up: too many lookups of its upstream wait`;
  return Object.assign(new Error(message), { code: 'EAI_AGAIN' });
}
