import { abortable } from './abortable-wait.ts';
import type { SharedWorkTracing, SpanReference } from '../ports/tracing.ts';
import type { Waiting } from '../ports/waiting.ts';

/** What work is given: the signal aborts when its last caller has left. */
export interface Flight extends Waiting {
  /**
   * For work that answers its callers before all of it is done: the run is not aborted when its last caller leaves, and later callers get the
   * same answer until `rest` has settled.
   */
  lastUntil(rest: Promise<unknown>): void;
}

interface RunState {
  readonly stop: AbortController;
  callers: number;
  /** Whether the work is aborted when the last caller leaves. */
  endsWithCallers: boolean;
  /** What the run lasts until, after its callers have their answer. */
  rest?: Promise<unknown>;
}

interface Run<Value> extends RunState {
  readonly work: Promise<Value>;
  /** The request that started it, if requests are traced. */
  readonly begunBy: SpanReference | undefined;
}

/** What a caller gets: the value, and whether it joined a run that another caller had started. */
export interface Shared<Value> {
  readonly value: Value;
  readonly collapsed: boolean;
}

/**
 * Callers of one key share one run. A caller whose signal aborts leaves alone; the run is aborted when its last caller has left, unless it is
 * kept running. The result is not cached.
 */
export class SingleFlight<Value> {
  readonly #running = new Map<string, Run<Value>>();
  readonly #tracing: SharedWorkTracing | undefined;

  constructor({ tracing }: { readonly tracing?: SharedWorkTracing | undefined } = {}) {
    this.#tracing = tracing;
  }

  async run(key: string, start: (flight: Flight) => Promise<Value>, { signal }: Waiting): Promise<Shared<Value>> {
    signal.throwIfAborted();
    const running = this.#running.get(key);
    const run = running ?? this.#launch(key, start);
    if (running) this.#tracing?.link(running.begunBy);
    run.callers += 1;
    try {
      return { value: await abortable(run.work, signal), collapsed: running !== undefined };
    } finally {
      run.callers -= 1;
      if (run.callers === 0 && run.endsWithCallers) this.#abandon(key, run);
    }
  }

  /** Joins the run of a key. @returns undefined if none runs. */
  async join(key: string, waiting: Waiting): Promise<Shared<Value> | undefined> {
    const nothing = () => Promise.reject(new Error('there is a run to join'));
    return this.#running.has(key) ? this.run(key, nothing, waiting) : undefined;
  }

  /**
   * Lets the run of a key end by itself: it is not aborted when its last caller leaves, and later callers can join it.
   * @returns its work; undefined if none runs.
   */
  keepRunning(key: string): Promise<Value> | undefined {
    const running = this.#running.get(key);
    if (running) running.endsWithCallers = false;
    return running?.work;
  }

  #launch(key: string, start: (flight: Flight) => Promise<Value>): Run<Value> {
    const state: RunState = { stop: new AbortController(), callers: 0, endsWithCallers: true };
    const lastUntil = (rest: Promise<unknown>): void => {
      state.rest = rest.catch(() => {}); // Its failure is not the answer.
      state.endsWithCallers = false;
    };
    const work = start({ signal: state.stop.signal, lastUntil });
    const run: Run<Value> = Object.assign(state, { work, begunBy: this.#tracing?.active() });
    this.#running.set(key, run);
    const forget = () => this.#forget(key, run);
    work.then(() => (run.rest ? run.rest.then(forget) : forget()), forget);
    return run;
  }

  #abandon(key: string, run: Run<Value>): void {
    this.#forget(key, run);
    run.stop.abort();
  }

  #forget(key: string, run: Run<Value>): void {
    if (this.#running.get(key) === run) this.#running.delete(key);
  }
}
