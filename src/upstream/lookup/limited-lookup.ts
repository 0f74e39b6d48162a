import pLimit from 'p-limit';
import type { Lookup } from './shared-lookup.ts';

/** How many lookups may wait behind one that hangs. */
const maxWaiting = 1_000;

/**
 * Runs one lookup at a time, for hosts that the operator did not write down. The lookups of all upstreams share a few threads (see
 * {@link createSharedLookup}): an upstream that names ever more hosts whose lookup hangs must not take them all.
 * @returns a lookup that rejects with EAI_AGAIN when too many wait.
 */
export function createLimitedLookup(lookup: Lookup): Lookup {
  const inTurn = pLimit(1);
  return async (hostname, wanted) => {
    if (inTurn.activeCount + inTurn.pendingCount >= maxWaiting) throw tooMany(hostname);
    return inTurn(() => lookup(hostname, wanted));
  };
}

function tooMany(hostname: string): Error {
  const message = `${hostname} is not looked up: too many lookups of its upstream wait`;
  return Object.assign(new Error(message), { code: 'EAI_AGAIN' });
}
