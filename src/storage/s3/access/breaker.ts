import type { Clock } from '../../../mirror/ports/clock.ts';

export interface BucketBreakerDeps {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Called with `closed` when the bucket answers again, and with why when it is given up for a while. */
  readonly onChange?: ((state: BucketState, cause?: unknown) => void) | undefined;
}

/** `closed`: the bucket is asked. Else the reason of the last failure: it is not asked for a while. */
export type BucketState = 'closed' | (string & {});

const firstOpenMs = 5_000;
const maxOpenMs = 60_000;

/**
 * Does not ask a bucket for a while after a failure, so that one that is slow or dead costs one timeout in each window, and not one for each
 * pull. When the window is over, one request is let through as a trial; the next window is twice as long.
 */
export class BucketBreaker {
  readonly #deps: BucketBreakerDeps;
  #state: BucketState = 'closed';
  #openMs = firstOpenMs;
  #openUntilMs = 0;
  #isOnTrial = false;

  constructor(deps: BucketBreakerDeps) {
    this.#deps = deps;
  }

  get state(): BucketState {
    return this.#state;
  }

  /** How long until a request is let through; 0: now. */
  get waitMs(): number {
    return this.#state === 'closed' ? 0 : Math.max(0, this.#openUntilMs - this.#deps.clock.monotonicMs());
  }

  /** Whether a request may be sent now. After each that was, {@link succeeded}, {@link failed} or {@link undecided} must be called. */
  admits(): boolean {
    if (this.#state === 'closed') return true;
    if (this.#isOnTrial || this.waitMs > 0) return false;
    this.#isOnTrial = true;
    return true;
  }

  succeeded(): void {
    this.#isOnTrial = false;
    this.#openMs = firstOpenMs;
    this.#change('closed');
  }

  failed(reason: string, cause?: unknown): void {
    const wasOpen = this.#state !== 'closed';
    if (wasOpen && !this.#isOnTrial) return; // Sent before it opened.
    this.#isOnTrial = false;
    this.#openUntilMs = this.#deps.clock.monotonicMs() + this.#openMs;
    this.#openMs = Math.min(maxOpenMs, this.#openMs * 2);
    this.#change(reason, cause);
  }

  /** The request ended for another reason, such as a client that left. */
  undecided(): void {
    this.#isOnTrial = false;
  }

  #change(state: BucketState, cause?: unknown): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#deps.onChange?.(state, cause);
  }
}
