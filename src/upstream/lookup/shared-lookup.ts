import type { LookupAddress, LookupOptions } from 'node:dns';
import { lookup as resolve } from 'node:dns/promises';
import type { LookupFunction } from 'node:net';
import { callbackify } from 'node:util';
import pLimit from 'p-limit';
import type { Clock } from '../../mirror/ports/clock.ts';
import { boundedMap } from '../../mirror/concurrency/remembered.ts';

/** All addresses of a host. Rejects with the resolver's error. */
export type Lookup = (hostname: string, options: Wanted) => Promise<readonly LookupAddress[]>;

type Wanted = Pick<LookupOptions, 'family' | 'hints'>;

export interface SharedLookupDeps {
  readonly clock: Clock;
  /** Default: the system's. */
  readonly lookup?: Lookup;
}

interface Found {
  readonly addresses: readonly LookupAddress[];
  readonly untilMs: number;
}

const rememberedForMs = 5_000;
const maxRemembered = 1_000;

/**
 * Looks up a host once for all concurrent callers, and caches its addresses for five seconds; failures are not cached.
 * A lookup occupies a thread until it ends, even if no caller waits any more, and libuv runs lookups on at most half of its threads: a host
 * whose lookup hangs must not occupy more than one.
 */
export function createSharedLookup({ clock, lookup = systemLookup }: SharedLookupDeps): Lookup {
  const underWay = new Map<string, Promise<readonly LookupAddress[]>>();
  const found = boundedMap<string, Found>(maxRemembered);

  const find = async (key: string, hostname: string, wanted: Wanted) => {
    const addresses = await lookup(hostname, wanted);
    found.set(key, { addresses, untilMs: clock.monotonicMs() + rememberedForMs });
    return addresses;
  };

  return async (hostname, { family = 0, hints = 0 }) => {
    const wanted = { family, hints };
    const key = lookupKey(hostname, wanted);
    const known = found.get(key);
    if (known && clock.monotonicMs() < known.untilMs) return known.addresses;
    const asked = underWay.get(key) ?? find(key, hostname, wanted).finally(() => void underWay.delete(key));
    underWay.set(key, asked);
    return asked;
  };
}

/** The key of a lookup in maps. */
export function lookupKey(hostname: string, { family = 0, hints = 0 }: Wanted): string {
  return `${hostname} ${family} ${hints}`;
}

/** Adapts a lookup to `net.connect`, which asks for all addresses or for the first. */
export function forSockets(lookup: Lookup): LookupFunction {
  const find = callbackify(lookup);
  return (hostname, options, done) => {
    find(hostname, options, (cause, addresses) => {
      if (cause) return done(cause, []);
      return options.all === true
        ? done(null, [...addresses])
        : done(null, addresses[0]?.address ?? '', addresses[0]?.family);
    });
  };
}

const systemLookup: Lookup = (hostname, options) => resolve(hostname, { ...options, all: true });

/** How many lookups may run or wait. */
const maxWaiting = 1_000;

/**
 * Runs one lookup at a time, for hosts that are not in the configuration. The lookups of all upstreams share a few threads (see
 * {@link createSharedLookup}): an upstream that names many hosts whose lookup hangs must not occupy them all.
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
