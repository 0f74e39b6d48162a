import { abortable } from './abortable-wait.ts';
import type { Waiting } from '../ports/waiting.ts';

interface Flight<Value> {
  readonly work: Promise<Value>;
  readonly stop: AbortController;
  callers: number;
}

/** What a caller gets: the value, and whether somebody else's run produced it. */
export interface Shared<Value> {
  readonly value: Value;
  readonly collapsed: boolean;
}

/**
 * Callers of one key share one run.
 *
 * A caller that gives up leaves alone; the work is aborted only when the last caller has left.
 * Nothing is remembered once the work settles.
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
      if (flight.callers === 0) this.#abandon(key, flight);
    }
  }

  /**
   * From now on the run of a key goes on though all its callers leave.
   * @returns its work; undefined where none runs.
   */
  goOn(key: string): Promise<Value> | undefined {
    const running = this.#running.get(key);
    if (running) running.callers += 1;
    return running?.work;
  }

  #launch(key: string, start: (waiting: Waiting) => Promise<Value>): Flight<Value> {
    const stop = new AbortController();
    const flight: Flight<Value> = { work: start({ signal: stop.signal }), stop, callers: 0 };
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
