import { abortable } from './abortable-wait.ts';
import type { Waiting } from '../ports/waiting.ts';

interface Flight<Value> {
  readonly work: Promise<Value>;
  readonly stop: AbortController;
  callers: number;
  /** Whether the work is aborted when the last caller leaves. */
  endsWithCallers: boolean;
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
  readonly #running = new Map<string, Flight<Value>>();

  async run(key: string, start: (waiting: Waiting) => Promise<Value>, { signal }: Waiting): Promise<Shared<Value>> {
    signal.throwIfAborted();
    const running = this.#running.get(key);
    const flight = running ?? this.#launch(key, start);
    flight.callers += 1;
    try {
      return { value: await abortable(flight.work, signal), collapsed: running !== undefined };
    } finally {
      flight.callers -= 1;
      if (flight.callers === 0 && flight.endsWithCallers) this.#abandon(key, flight);
    }
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

  #launch(key: string, start: (waiting: Waiting) => Promise<Value>): Flight<Value> {
    const stop = new AbortController();
    const flight: Flight<Value> = { work: start({ signal: stop.signal }), stop, callers: 0, endsWithCallers: true };
    this.#running.set(key, flight);
    const forget = () => this.#forget(key, flight);
    flight.work.then(forget, forget);
    return flight;
  }

  #abandon(key: string, flight: Flight<Value>): void {
    this.#forget(key, flight);
    flight.stop.abort();
  }

  #forget(key: string, flight: Flight<Value>): void {
    if (this.#running.get(key) === flight) this.#running.delete(key);
  }
}
