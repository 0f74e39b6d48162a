/** How many downloads there may be. */
export interface PlaceLimits {
  /** Places in all. Only a download whose upstream has answered holds one. */
  readonly total: number;
  /** Places of one upstream, for downloads that wait for its answer or receive it. */
  readonly perUpstream: number;
  /** How many slow downloads of one upstream may go on outside of the places. */
  readonly outsidePerUpstream: number;
}

/** No upstream gets all places, unless there are few: the others must not wait until one of its downloads ends. */
export function placeLimits(maxConcurrent: number): PlaceLimits {
  const perUpstream = Math.max(1, Math.ceil((maxConcurrent * 3) / 4));
  return { total: maxConcurrent, perUpstream, outsidePerUpstream: Math.ceil(perUpstream / 2) };
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
