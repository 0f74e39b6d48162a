import { UpstreamError } from '../../oci/errors.ts';
import type { Waiting } from '../ports/waiting.ts';
import { abortable } from './abortable-wait.ts';

export interface TurnsByKeyOptions {
  /** How many pieces of work run at the same time for one key. */
  readonly perKey: number;
  /** How many more may wait for one key; further ones are refused. */
  readonly maxWaiting: number;
}

interface Line {
  running: number;
  readonly waiting: Set<() => void>;
}

/** Bounds how much work runs at the same time for each key. Keys do not affect each other. */
export class TurnsByKey {
  readonly #options: TurnsByKeyOptions;
  readonly #lines = new Map<string, Line>();

  constructor(options: TurnsByKeyOptions) {
    this.#options = options;
  }

  /** @throws UpstreamError busy when too many wait; the signal's reason when it aborts before the turn has come. */
  async run<Value>(key: string, work: () => Promise<Value>, waiting: Waiting): Promise<Value> {
    const line = this.#lines.get(key) ?? { running: 0, waiting: new Set() };
    this.#lines.set(key, line);
    await this.#turn(line, waiting);
    try {
      return await work();
    } finally {
      this.#end(key, line);
    }
  }

  async #turn(line: Line, { signal }: Waiting): Promise<void> {
    const { perKey, maxWaiting } = this.#options;
    if (line.running < perKey) {
      line.running += 1;
      return;
    }
    if (line.waiting.size >= maxWaiting)
      throw new UpstreamError('busy', 'too many requests of this kind wait for the upstream');
    const { promise, resolve } = Promise.withResolvers<void>();
    line.waiting.add(resolve);
    try {
      await abortable(promise, signal);
    } catch (cause) {
      // The turn was granted in the same moment: it goes to the next waiter.
      if (!line.waiting.delete(resolve)) this.#passOn(line);
      throw cause;
    }
  }

  #end(key: string, line: Line): void {
    this.#passOn(line);
    if (line.running === 0) this.#lines.delete(key);
  }

  #passOn(line: Line): void {
    const [next] = line.waiting;
    if (!next) {
      line.running -= 1;
      return;
    }
    line.waiting.delete(next);
    next();
  }
}
