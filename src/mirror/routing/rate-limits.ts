import type { Clock } from '../ports/clock.ts';
import type { RateLimitReport } from '../ports/upstream.ts';

/** Below this part of its allowance an account has little left. */
const lowShare = 0.1;
/** While little is left, a cached tag is trusted so many times as long. */
export const patienceWhenLow = 10;
/** What was said of an allowance this long ago says nothing of it now, where its window is not told. */
const defaultWindowSeconds = 6 * 3_600;

/**
 * What is left of every upstream's allowances. While all accounts of an upstream have less than a tenth left, cached tags are looked up
 * a tenth as often: a tag that moved costs a pull, and what is left is for images nobody has yet.
 */
export class RateLimits {
  readonly #clock: Clock;
  readonly #seen = new Map<string, Map<string, RateLimitReport & { readonly atMs: number }>>();

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock;
  }

  note(report: RateLimitReport): void {
    const accounts = this.#seen.get(report.upstream) ?? new Map();
    accounts.set(report.account, { ...report, atMs: this.#clock.monotonicMs() });
    this.#seen.set(report.upstream, accounts);
  }

  /** By how much the lifetime of a tag of this upstream is to be multiplied. */
  lifetimeFactor(label: string): number {
    const accounts = this.#seen.get(label);
    if (!accounts) return 1;
    const known = [...accounts.values()].filter((account) => this.#isCurrent(account));
    const isLow = known.length > 0 && known.every(({ limit, remaining }) => remaining < limit * lowShare);
    return isLow ? patienceWhenLow : 1;
  }

  #isCurrent({ atMs, windowSeconds }: RateLimitReport & { readonly atMs: number }): boolean {
    return this.#clock.monotonicMs() - atMs < (windowSeconds ?? defaultWindowSeconds) * 1_000;
  }
}
