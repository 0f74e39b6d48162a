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
