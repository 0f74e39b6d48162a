import { UpstreamError } from '../../oci/errors.ts';
import { abortable } from './abortable-wait.ts';
import type { Clock } from '../ports/clock.ts';
import type { Waiting } from '../ports/waiting.ts';
import { Remembered } from './remembered.ts';

export interface BriefWaitDeps {
  readonly clock: Clock;
  /** How long a cached answer waits for its upstream. */
  readonly waitMs: number;
  /** How long an upstream that took longer is not waited for at all. */
  readonly slowForMs: number;
}

/**
 * Waits for an upstream where something older could be served: for a moment, and not at all where the upstream was too slow a
 * moment ago. What was asked goes on, so that a slow upstream is heard by the next pull. An upstream that answers in time is waited for
 * again: what was slow may have been one repository.
 */
export class BriefWait {
  readonly #deps: BriefWaitDeps;
  readonly #slow: Remembered<TooSlow>;

  constructor(deps: BriefWaitDeps) {
    this.#deps = deps;
    this.#slow = new Remembered({ clock: deps.clock, max: 1_000 });
  }

  /**
   * @param whom is asked: the name of an upstream, or of something of it that may take longer than everything else.
   * @throws TooSlow when the moment is over; then whoever wants the answer yet has to keep `asked` alive. It may fail unheard.
   */
  async for<Value>(asked: Promise<Value>, whom: string, { signal }: Waiting): Promise<Value> {
    const { clock, waitMs, slowForMs } = this.#deps;
    const isSlow = this.#slow.get(whom) !== undefined;
    const moment = AbortSignal.timeout(isSlow ? 0 : waitMs);
    const inTimeUntilMs = clock.monotonicMs() + waitMs;
    const noteAnswer = () => {
      if (clock.monotonicMs() < inTimeUntilMs) this.#slow.forget(whom);
    };
    if (isSlow) asked.then(noteAnswer, () => {}); // Whoever waits is told of a failure.
    try {
      return await abortable(asked, AbortSignal.any([signal, moment]));
    } catch (cause) {
      if (signal.aborted || !moment.aborted) throw cause;
      const slow = new TooSlow();
      if (!this.#slow.get(whom)) this.#slow.remember(whom, slow, slowForMs);
      throw slow;
    }
  }
}

/** The upstream may answer yet. */
export class TooSlow extends UpstreamError {
  constructor() {
    super('timeout', 'the upstream did not answer in time');
  }
}
