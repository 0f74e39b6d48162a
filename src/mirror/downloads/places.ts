/** How many downloads there may be. */
export interface PlaceLimits {
  /** Places in all. Only a download whose upstream has answered holds one. */
  readonly total: number;
  /** The most places of one upstream. */
  readonly perUpstream: number;
  /** What each upstream gets though all places are taken: several others must not hold all of them together. */
  readonly guaranteed: number;
}

/** How many downloads there may be of one upstream. */
export interface UpstreamLimits {
  /** For downloads that wait for its answer or receive it. */
  readonly places: number;
  /** How many slow downloads may go on outside of the places. */
  readonly outside: number;
}

/** No upstream gets all places, unless there are few: the others must not wait until one of its downloads ends. */
export function placeLimits(maxConcurrent: number): PlaceLimits {
  const guaranteed = Math.max(1, Math.floor(maxConcurrent / 16));
  return { total: maxConcurrent, perUpstream: Math.ceil((maxConcurrent * 3) / 4), guaranteed };
}

/** Downloads leave an upstream connections for manifests: what only waits for a connection would never begin. */
export function limitsOf({ perUpstream }: PlaceLimits, maxConnections: number): UpstreamLimits {
  const places = Math.max(1, Math.min(perUpstream, Math.floor((maxConnections * 3) / 4)));
  return { places, outside: Math.max(0, Math.min(Math.ceil(places / 2), maxConnections - places - 1)) };
}

/** A download as it is seen where one has to yield. */
export interface Standing {
  readonly hasClients: boolean;
  /** Below the minimum rate for a whole window, and that because of its upstream. */
  readonly isSlow: boolean;
  readonly bytesPerSecond: number;
  readonly isOutside: boolean;
}

/**
 * Whether a download yields its place, and how:
 *
 *     end       it has no clients
 *     outside   it is slow: it goes on without a place
 *     cut       it is slow, and no more may go on outside
 */
export type Yielding<Download> =
  | { readonly kind: 'nobody' }
  | { readonly kind: 'end' | 'outside' | 'cut'; readonly who: Download };

/**
 * Which of one upstream's downloads yields while others wait. Pure.
 * @param downloads with and without a place, in the order they began.
 * @param outside how many go on outside of the places.
 */
export function whoYields<Download extends Standing>(
  downloads: readonly Download[],
  { outside, maxOutside }: { readonly outside: number; readonly maxOutside: number },
): Yielding<Download> {
  const abandoned = downloads.find(({ hasClients, isOutside }) => !hasClients && !isOutside);
  if (abandoned) return { kind: 'end', who: abandoned };
  const slow = downloads.filter(({ isSlow }) => isSlow).toSorted((a, b) => a.bytesPerSecond - b.bytesPerSecond);
  const slowest = slow.find(({ isOutside }) => !isOutside);
  if (!slowest) return { kind: 'nobody' };
  if (outside < maxOutside) return { kind: 'outside', who: slowest };
  const victim = slow.find(({ hasClients }) => !hasClients) ?? slow[0];
  return victim ? { kind: 'cut', who: victim } : { kind: 'nobody' };
}

/**
 * Which download gets a free place: the one that waits longest, of the upstream that holds the fewest. Pure.
 * @param waiting in the order they came.
 */
export function nextGranted<Download extends { readonly heldByUpstream: number }>(
  waiting: readonly Download[],
): Download | undefined {
  return waiting.reduce<Download | undefined>(
    (best, one) => (best === undefined || one.heldByUpstream < best.heldByUpstream ? one : best),
    undefined,
  );
}

/** Which of the downloads without clients ends, where there are more than allowed: the oldest of the upstream that has most. Pure. */
export function abandonedToEnd<Download extends { readonly label: string }>(
  abandoned: readonly Download[],
  max: number,
): Download | undefined {
  if (abandoned.length <= max) return undefined;
  const byUpstream = [...Map.groupBy(abandoned, ({ label }) => label).values()];
  return byUpstream.toSorted((a, b) => b.length - a.length)[0]?.[0];
}
