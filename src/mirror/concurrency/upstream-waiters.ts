import { UpstreamError } from '../../oci/errors.ts';
import type { Observer } from '../ports/observer.ts';

export interface UpstreamWaitersDeps {
  /** How many requests may run at the same time: `clients.maxRequests`. */
  readonly maxRequests: number;
  readonly observer: Pick<Observer, 'rejected'>;
}

/** How many requests wait for an upstream's answer. */
export interface WaiterCounts {
  readonly ofUpstream: number;
  readonly ofAll: number;
  readonly maxRequests: number;
}

const retryAfterSeconds = 2;

/**
 * Whether one more request may wait for an upstream: the requests that wait for it must be fewer than those that are still free. Pure.
 * So one silent upstream can take half of the requests and a second one half of the rest; the last free request is never taken. If none
 * waits, one may always wait.
 */
export function mayWait({ ofUpstream, ofAll, maxRequests }: WaiterCounts): boolean {
  return ofAll === 0 || ofUpstream < maxRequests - 1 - ofAll;
}

/**
 * Counts the requests that wait for an upstream's answer, by the label of the upstream. Requests answered from the cache do not count.
 */
export class UpstreamWaiters {
  readonly #deps: UpstreamWaitersDeps;
  readonly #byUpstream = new Map<string, number>();
  #all = 0;

  constructor(deps: UpstreamWaitersDeps) {
    this.#deps = deps;
  }

  /**
   * Runs `work`, in which a request waits for the upstream. Must not be nested: a request counts once.
   * @throws TooManyWaiters without running `work`; what `work` throws.
   */
  async wait<Value>(label: string, work: () => Promise<Value>): Promise<Value> {
    this.#enter(label);
    try {
      return await work();
    } finally {
      this.#leave(label);
    }
  }

  #enter(label: string): void {
    const { maxRequests, observer } = this.#deps;
    const ofUpstream = this.#byUpstream.get(label) ?? 0;
    if (!mayWait({ ofUpstream, ofAll: this.#all, maxRequests })) {
      observer.rejected({ reason: 'upstream' });
      throw new TooManyWaiters(label);
    }
    this.#byUpstream.set(label, ofUpstream + 1);
    this.#all += 1;
  }

  #leave(label: string): void {
    const left = (this.#byUpstream.get(label) ?? 1) - 1;
    if (left === 0) this.#byUpstream.delete(label);
    else this.#byUpstream.set(label, left);
    this.#all -= 1;
  }
}

/** Too many requests wait for an upstream: one more is refused. */
export class TooManyWaiters extends UpstreamError {
  constructor(label: string) {
    super('busy', `too many requests wait for ${label}`, { retryAfterSeconds });
  }
}
