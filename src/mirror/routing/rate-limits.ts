import type { Clock } from '../ports/clock.ts';
import { lowShare, type RateLimitReport } from '../ports/upstream.ts';

/** The lifetimes of tags are multiplied by this while all accounts are low. */
export const lifetimeFactorWhenLow = 10;
/** A report expires after this time, if it names no window. */
const defaultWindowSeconds = 6 * 3_600;

interface SeenReport extends RateLimitReport {
  readonly atMs: number;
}

/**
 * The last rate limit report of every account. While all accounts of an upstream have less than a tenth left, cached tags are revalidated
 * a tenth as often: a tag that moved costs a pull, and the remaining pulls are for images that are not cached yet.
 */
export class RateLimits {
  readonly #clock: Clock;
  readonly #seen = new Map<string, Map<string, SeenReport>>();

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock;
  }

  record(report: RateLimitReport): void {
    const accounts = this.#seen.get(report.upstream) ?? new Map<string, SeenReport>();
    accounts.set(report.account, { ...report, atMs: this.#clock.monotonicMs() });
    this.#seen.set(report.upstream, accounts);
  }

  /** The factor for the lifetimes of this upstream's tags. */
  lifetimeFactor(label: string): number {
    return this.isLow(label) ? lifetimeFactorWhenLow : 1;
  }

  /** Whether all accounts of the upstream have less than a tenth of their pulls left. */
  isLow(label: string): boolean {
    const accounts = this.#seen.get(label);
    if (!accounts) return false;
    const known = [...accounts.values()].filter((account) => this.#isCurrent(account));
    return known.length > 0 && known.every(({ limit, remaining }) => remaining < limit * lowShare);
  }

  #isCurrent({ atMs, windowSeconds }: RateLimitReport & { readonly atMs: number }): boolean {
    return this.#clock.monotonicMs() - atMs < (windowSeconds ?? defaultWindowSeconds) * 1_000;
  }
}
