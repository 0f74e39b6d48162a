import { Circuit } from '../../../mirror/concurrency/circuit.ts';
import type { Clock } from '../../../mirror/ports/clock.ts';

export interface BucketBreakerDeps {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Called with `closed` when the bucket answers again, and with why when it is given up for a while. */
  readonly onChange?: ((state: BucketState, cause?: unknown) => void) | undefined;
}

/** `closed`: the bucket is asked. Else the reason of the last failure: it is not asked for a while. */
export type BucketState = 'closed' | (string & {});

const rules = { firstOpenMs: 5_000, maxOpenMs: 60_000 };

/**
 * Does not ask a bucket for a while after a failure, so that one that is slow or dead costs one timeout in each window, and not one for each
 * pull. When the window is over, one request is let through as a trial; the next window is twice as long.
 */
export class BucketBreaker {
  readonly #deps: BucketBreakerDeps;
  readonly #circuit: Circuit;
  #state: BucketState = 'closed';

  constructor(deps: BucketBreakerDeps) {
    this.#deps = deps;
    // Its owner learns the reasons, not that a trial runs.
    this.#circuit = new Circuit({ rules, clock: deps.clock, onChange: () => {} });
  }

  get state(): BucketState {
    return this.#state;
  }

  /** How long until a request is let through; 0: now. */
  get waitMs(): number {
    return this.#state === 'closed' ? 0 : this.#circuit.openForMs;
  }

  /** Whether a request may be sent now. After each that was, {@link succeeded}, {@link failed} or {@link undecided} must be called. */
  admits(): boolean {
    return this.#circuit.state === 'closed' || this.#circuit.beginTrial();
  }

  succeeded(): void {
    this.#circuit.succeeded();
    this.#change('closed');
  }

  failed(reason: string, cause?: unknown): void {
    if (this.#circuit.state === 'open') return; // Sent before it opened.
    this.#circuit.failed();
    this.#change(reason, cause);
  }

  /** The request ended for another reason, such as a client that left. */
  undecided(): void {
    this.#circuit.undecided();
  }

  #change(state: BucketState, cause?: unknown): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#deps.onChange?.(state, cause);
  }
}
