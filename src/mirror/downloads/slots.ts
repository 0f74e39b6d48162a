/** How many downloads may run. */
export interface SlotLimits {
  /** Slots over all upstreams. Only a download whose upstream has answered holds one. */
  readonly total: number;
  /** The most slots of one upstream. */
  readonly perUpstream: number;
  /** Slots that each upstream gets even when all are taken, so that several slow upstreams together cannot keep it from downloading. */
  readonly guaranteed: number;
}

/** How many downloads of one upstream may run. */
export interface UpstreamLimits {
  /** Slots for downloads that wait for its answer or receive it. */
  readonly slots: number;
  /** How many slow downloads may continue without a slot. */
  readonly outside: number;
}

/** One upstream gets at most three quarters of the slots, rounded up, so that the others need not wait for its downloads to end. */
export function slotLimits(maxConcurrent: number): SlotLimits {
  const guaranteed = Math.max(1, Math.floor(maxConcurrent / 16));
  return { total: maxConcurrent, perUpstream: Math.ceil((maxConcurrent * 3) / 4), guaranteed };
}

/** The limits of one upstream. Its downloads leave some of its connections to manifests. */
export function limitsOf({ perUpstream }: SlotLimits, maxConnections: number): UpstreamLimits {
  const slots = Math.max(1, Math.min(perUpstream, Math.floor((maxConnections * 3) / 4)));
  return { slots, outside: Math.max(0, Math.min(Math.ceil(slots / 2), maxConnections - slots - 1)) };
}

/** What decides whether a download has to yield its slot. */
export interface DownloadState {
  readonly hasClients: boolean;
  /** Below the minimum rate for a whole window, because of its upstream. */
  readonly isSlow: boolean;
  readonly bytesPerSecond: number;
  readonly isOutside: boolean;
}

/**
 * Whether a download yields its slot, and how:
 *
 *     end       it has no clients
 *     outside   it is slow: it continues without a slot
 *     cut       it is slow, and no further download may continue without a slot
 */
export type Yielding<Download> =
  | { readonly kind: 'none' }
  | { readonly kind: 'end' | 'outside' | 'cut'; readonly download: Download };

/**
 * Which of one upstream's downloads yields while others wait. Pure.
 * @param downloads with and without a slot, in the order they began.
 * @param outside how many continue without a slot.
 */
export function downloadToYield<Download extends DownloadState>(
  downloads: readonly Download[],
  { outside, maxOutside }: { readonly outside: number; readonly maxOutside: number },
): Yielding<Download> {
  const abandoned = downloads.find(({ hasClients, isOutside }) => !hasClients && !isOutside);
  if (abandoned) return { kind: 'end', download: abandoned };
  const slow = downloads.filter(({ isSlow }) => isSlow).toSorted((a, b) => a.bytesPerSecond - b.bytesPerSecond);
  const slowest = slow.find(({ isOutside }) => !isOutside);
  if (!slowest) return { kind: 'none' };
  if (outside < maxOutside) return { kind: 'outside', download: slowest };
  const victim = slow.find(({ hasClients }) => !hasClients) ?? slow[0];
  return victim ? { kind: 'cut', download: victim } : { kind: 'none' };
}

/**
 * Which download gets a free slot: of the upstream that holds the fewest slots, the one that has waited longest. Pure.
 * @param waiting in order of arrival.
 */
export function nextGranted<Download extends { readonly heldByUpstream: number }>(
  waiting: readonly Download[],
): Download | undefined {
  return waiting.reduce<Download | undefined>(
    (best, one) => (best === undefined || one.heldByUpstream < best.heldByUpstream ? one : best),
    undefined,
  );
}

/** Which download without clients has to end when there are more than `max`: the oldest one of the upstream that has the most. Pure. */
export function abandonedToEnd<Download extends { readonly label: string }>(
  abandoned: readonly Download[],
  max: number,
): Download | undefined {
  if (abandoned.length <= max) return undefined;
  const byUpstream = [...Map.groupBy(abandoned, ({ label }) => label).values()];
  return byUpstream.toSorted((a, b) => b.length - a.length)[0]?.[0];
}

export interface PaceRules {
  /** A download that receives less than this … */
  readonly minBytesPerSecond: number;
  /** … for this long is slow. */
  readonly windowMs: number;
}

/**
 * Whether a transfer keeps up a minimum rate: a bucket that holds what the rate brings in one window, loses it at that rate, and is
 * filled by what arrives. Once it is empty the transfer is slow, until half of a window's bytes have come again. Times are of the
 * monotonic clock.
 */
export class Pace {
  readonly #rules: PaceRules;
  readonly #sinceMs: number;
  #receivedBytes = 0;
  #credit: number;
  #isSlow = false;
  #atMs: number;

  constructor(rules: PaceRules, nowMs: number) {
    this.#rules = rules;
    this.#sinceMs = nowMs;
    this.#atMs = nowMs;
    this.#credit = this.#maxCredit;
  }

  received(bytes: number, nowMs: number): void {
    this.#drain(nowMs);
    this.#receivedBytes += bytes;
    this.#credit = Math.min(this.#maxCredit, this.#credit + bytes);
    if (this.#credit >= this.#maxCredit / 2) this.#isSlow = false;
  }

  isSlow(nowMs: number): boolean {
    this.#drain(nowMs);
    return this.#isSlow;
  }

  /** The time until now does not count: the upstream was not the cause. */
  excuse(nowMs: number): void {
    this.#atMs = nowMs;
    this.#credit = this.#maxCredit;
    this.#isSlow = false;
  }

  /** The average since the transfer began. */
  bytesPerSecond(nowMs: number): number {
    return (this.#receivedBytes * 1_000) / Math.max(1, nowMs - this.#sinceMs);
  }

  get #maxCredit(): number {
    return (this.#rules.minBytesPerSecond * this.#rules.windowMs) / 1_000;
  }

  #drain(nowMs: number): void {
    const lost = (this.#rules.minBytesPerSecond * (nowMs - this.#atMs)) / 1_000;
    this.#atMs = nowMs;
    this.#credit = Math.max(0, this.#credit - lost);
    if (this.#credit === 0 && this.#maxCredit > 0) this.#isSlow = true;
  }
}
