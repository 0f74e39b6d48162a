import { UpstreamError } from '../oci/errors.ts';
import { abortable } from './concurrency/abortable-wait.ts';
import type { Clock, Waiting } from './ports.ts';
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
 * moment ago. What was asked goes on, so that a slow upstream is heard by the next pull.
 */
export class BriefWait {
  readonly #deps: BriefWaitDeps;
  readonly #slow: Remembered<TooSlow>;

  constructor(deps: BriefWaitDeps) {
    this.#deps = deps;
    this.#slow = new Remembered({ clock: deps.clock, max: 1_000 });
  }

  /**
   * @param label of the upstream that is asked.
   * @throws TooSlow when the moment is over; then whoever wants the answer yet has to keep `asked` alive. It may fail unheard.
   */
  async for<Value>(asked: Promise<Value>, label: string, { signal }: Waiting): Promise<Value> {
    const { waitMs, slowForMs } = this.#deps;
    const moment = AbortSignal.timeout(this.#slow.get(label) ? 0 : waitMs);
    try {
      return await abortable(asked, AbortSignal.any([signal, moment]));
    } catch (cause) {
      if (signal.aborted || !moment.aborted) throw cause;
      const slow = new TooSlow();
      if (!this.#slow.get(label)) this.#slow.remember(label, slow, slowForMs);
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
