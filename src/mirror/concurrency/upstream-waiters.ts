import { UpstreamError } from '../../oci/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';

export interface UpstreamWaitersDeps {
  /** How many requests may run at the same time: `clients.maxRequests`. */
  readonly maxRequests: number;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'rejected'>;
}

/** A request whose body is on its way from an upstream. */
export interface BodyReader {
  /** Counts it until it has caught up, or ended. @throws TooManyWaiters when it is one too many. */
  isSlow(): void;
  caughtUp(): void;
  end(): void;
}

/** How many requests wait for an upstream's answer. */
export interface WaiterCounts {
  readonly ofUpstream: number;
  readonly ofAll: number;
  readonly maxRequests: number;
}

const retryAfterSeconds = 2;
/** For so long after slow bodies were too many, every body of that upstream counts from its beginning. */
const suspectForMs = 60_000;

interface Counts {
  answers: number;
  bodies: number;
  suspectUntilMs: number;
}

/**
 * Whether one more request may wait for an upstream: the requests that wait for it must be fewer than those that are still free. Pure.
 * So one silent upstream can take half of the requests and a second one half of the rest; the last free request is never taken. If none
 * waits, one may always wait.
 */
export function mayWait({ ofUpstream, ofAll, maxRequests }: WaiterCounts): boolean {
  return ofAll === 0 || ofUpstream < maxRequests - 1 - ofAll;
}

/**
 * Counts the requests that wait for an upstream's answer, and those whose body comes too slowly, by the label of the upstream. Requests
 * answered from the cache do not count, nor do bodies that come in time. When slow bodies are too many, those that become slow are cut.
 * Labels come from the configuration.
 */
export class UpstreamWaiters {
  readonly #deps: UpstreamWaitersDeps;
  readonly #byUpstream = new Map<string, Counts>();
  #all = 0;

  constructor(deps: UpstreamWaitersDeps) {
    this.#deps = deps;
  }

  /**
   * Runs `work`, in which a request waits for the upstream. Must not be nested: a request counts once.
   * @throws TooManyWaiters without running `work`; what `work` throws.
   */
  async wait<Value>(label: string, work: () => Promise<Value>): Promise<Value> {
    const counts = this.#countsOf(label);
    this.#admit(label, counts.answers + counts.bodies);
    counts.answers += 1;
    this.#all += 1;
    try {
      return await work();
    } finally {
      counts.answers -= 1;
      this.#all -= 1;
    }
  }

  /** To be called before anything is begun whose body will be read. @throws TooManyWaiters when its slow bodies are too many. */
  admitBody(label: string): void {
    const counts = this.#countsOf(label);
    if (this.#isSuspect(counts)) this.#admit(label, counts.bodies);
  }

  /** A body begins to be read. @throws TooManyWaiters. */
  body(label: string): BodyReader {
    const counts = this.#countsOf(label);
    let counted = 0;
    const isSlow = (): void => {
      if (counted > 0) return;
      if (!this.#mayWait(counts.bodies)) counts.suspectUntilMs = this.#deps.clock.monotonicMs() + suspectForMs;
      this.#admit(label, counts.bodies);
      counted = 1;
      counts.bodies += 1;
      this.#all += 1;
    };
    const uncount = (): void => {
      counts.bodies -= counted;
      this.#all -= counted;
      counted = 0;
    };
    if (this.#isSuspect(counts)) isSlow();
    return { isSlow, caughtUp: uncount, end: uncount };
  }

  #countsOf(label: string): Counts {
    const counts = this.#byUpstream.get(label) ?? { answers: 0, bodies: 0, suspectUntilMs: Number.NEGATIVE_INFINITY };
    this.#byUpstream.set(label, counts);
    return counts;
  }

  #isSuspect({ suspectUntilMs }: Counts): boolean {
    return this.#deps.clock.monotonicMs() < suspectUntilMs;
  }

  #mayWait(ofUpstream: number): boolean {
    return mayWait({ ofUpstream, ofAll: this.#all, maxRequests: this.#deps.maxRequests });
  }

  #admit(label: string, ofUpstream: number): void {
    if (this.#mayWait(ofUpstream)) return;
    this.#deps.observer.rejected({ reason: 'upstream' });
    throw new TooManyWaiters(label);
  }
}

/** Too many requests wait for an upstream: one more is refused. */
export class TooManyWaiters extends UpstreamError {
  constructor(label: string) {
    super('busy', `too many requests wait for ${label}`, { retryAfterSeconds });
  }
}
