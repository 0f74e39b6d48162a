import { UpstreamError } from '../../oci/errors.ts';
import type { Observer } from '../ports/observer.ts';

export interface UpstreamWaitersDeps {
  /** Requests that are answered at the same time. */
  readonly maxRequests: number;
  readonly observer: Pick<Observer, 'rejected'>;
}

/** How many requests wait for answers of upstreams. */
export interface WaiterCounts {
  readonly ofUpstream: number;
  readonly ofAll: number;
  readonly maxRequests: number;
}

const retryAfterSeconds = 2;

/**
 * Whether one more request may wait for an upstream: as long as fewer wait for it than all waiting requests leave free. Pure.
 * One silent upstream takes half of the requests, a second one half of what is left, and the last one is left to others. The first request
 * of all may always wait.
 */
export function mayWait({ ofUpstream, ofAll, maxRequests }: WaiterCounts): boolean {
  return ofAll === 0 || ofUpstream < maxRequests - 1 - ofAll;
}

/**
 * Counts the requests that wait for an upstream's answer, by the label of the upstream. What is answered from the cache is not counted.
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
   * @throws TooManyWaiters, before any work; whatever `work` does.
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

/** As many requests wait for an upstream as may. */
export class TooManyWaiters extends UpstreamError {
  constructor(label: string) {
    super('busy', `as many requests as may already wait for ${label}`, { retryAfterSeconds });
  }
}
