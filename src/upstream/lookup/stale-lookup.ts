import { timeLimited } from '../../mirror/concurrency/abortable-wait.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import { boundedMap } from '../../mirror/concurrency/remembered.ts';
import { type Lookup, lookupKey } from './shared-lookup.ts';

export interface StaleLookupDeps {
  readonly clock: Clock;
  readonly lookup: Lookup;
  /** How long to wait for a lookup when previous addresses are known. */
  readonly waitMs?: number;
}

interface Found {
  readonly addresses: Awaited<ReturnType<Lookup>>;
  readonly atMs: number;
}

const oneSecondMs = 1_000;
const maxStaleMs = 86_400_000;
const maxRemembered = 100;

/**
 * Uses a host's previous addresses for up to a day while its lookup fails or is slow (RFC 8767), for example behind lookups that hang. A host
 * that no longer exists is not found.
 */
export function createStaleLookup({ clock, lookup, waitMs = oneSecondMs }: StaleLookupDeps): Lookup {
  const found = boundedMap<string, Found>(maxRemembered);

  const find: Lookup = async (hostname, wanted) => {
    const addresses = await lookup(hostname, wanted);
    found.set(lookupKey(hostname, wanted), { addresses, atMs: clock.monotonicMs() });
    return addresses;
  };

  return async (hostname, wanted) => {
    const known = found.get(lookupKey(hostname, wanted));
    const asked = find(hostname, wanted);
    if (!known || clock.monotonicMs() - known.atMs > maxStaleMs) return asked;
    try {
      return await timeLimited(asked, waitMs, () => new Error(`the lookup of ${hostname} gave no answer in time`));
    } catch (cause) {
      if (isGone(cause)) throw cause;
      return known.addresses;
    }
  };
}

function isGone(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && (cause.code === 'ENOTFOUND' || cause.code === 'ENODATA');
}
