import { UpstreamError } from '../../oci/errors.ts';
import { abortable } from './abortable-wait.ts';
import type { Clock } from '../ports/clock.ts';
import type { Waiting } from '../ports/waiting.ts';
import { Remembered } from './remembered.ts';

export interface SoftTimeoutDeps {
  readonly clock: Clock;
  /** How long a request waits for the upstream. */
  readonly waitMs: number;
  /** How long requests do not wait for an upstream that took longer. */
  readonly slowForMs: number;
}

/**
 * Limits how long a request waits for an upstream if a stale answer could be served instead. After one timeout, further requests do not wait
 * for this upstream at all until `slowForMs` has passed or it has answered in time: only one of its repositories may have been slow. The
 * request to the upstream is not aborted, so that the next pull can use its answer.
 */
export class SoftTimeout {
  readonly #deps: SoftTimeoutDeps;
  readonly #slow: Remembered<TooSlow>;

  constructor(deps: SoftTimeoutDeps) {
    this.#deps = deps;
    this.#slow = new Remembered({ clock: deps.clock, max: 1_000 });
  }

  /**
   * @param asked the running request. Its later failure is ignored.
   * @param key the upstream's name, or the kind of request if that kind is slower than the others.
   * @throws TooSlow after the timeout. The caller keeps `asked` running if its answer is still of use.
   */
  async for<Value>(asked: Promise<Value>, key: string, { signal }: Waiting): Promise<Value> {
    const { clock, waitMs, slowForMs } = this.#deps;
    const isSlow = this.#slow.get(key) !== undefined;
    const timeout = AbortSignal.timeout(isSlow ? 0 : waitMs);
    const inTimeUntilMs = clock.monotonicMs() + waitMs;
    const recordAnswer = () => {
      if (clock.monotonicMs() < inTimeUntilMs) this.#slow.forget(key);
    };
    if (isSlow) asked.then(recordAnswer, () => {}); // A failure reaches the caller below.
    try {
      return await abortable(asked, AbortSignal.any([signal, timeout]));
    } catch (cause) {
      if (signal.aborted || !timeout.aborted) throw cause;
      const slow = new TooSlow();
      if (!this.#slow.get(key)) this.#slow.remember(key, slow, slowForMs);
      throw slow;
    }
  }
}

/** The upstream may still answer. */
export class TooSlow extends UpstreamError {
  constructor() {
    super('timeout', 'the upstream did not answer in time');
  }
}
