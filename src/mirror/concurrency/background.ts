import { boundedMap } from './remembered.ts';
import type { Observer } from '../ports/observer.ts';

/** How many failed writes are retried; beyond that the oldest is given up. */
const maxRetried = 10_000;

export interface BackgroundDeps {
  readonly observer: Pick<Observer, 'internalError'>;
  /** How long after a failure the work is tried again. */
  readonly retryAfterMs?: number;
}

/** Thrown by work that has to wait for other running work. It is retried like a failure, but not reported. */
export class Postponed extends Error {
  override readonly name = 'Postponed';
}

interface Retried {
  readonly part: string;
  readonly work: () => Promise<void>;
  hasFailed: boolean;
}

/** Runs work that no request waits for: reports its failures, and waits for it at shutdown. */
export class Background {
  readonly #running = new Set<Promise<void>>();
  readonly #retried = boundedMap<string, Retried>(maxRetried);
  readonly #observer: BackgroundDeps['observer'];
  readonly #retryAfterMs: number;
  #retryTimer: NodeJS.Timeout | undefined;

  constructor({ observer, retryAfterMs = 10_000 }: BackgroundDeps) {
    this.#observer = observer;
    this.#retryAfterMs = retryAfterMs;
  }

  run(part: string, work: () => Promise<void>): void {
    void this.#run(part, work);
  }

  /**
   * Runs `work`, and retries it until it succeeds or newer work of that name replaces it: a disk that is full now may have space later.
   * @returns after the first try. Never rejects.
   */
  retryUntilWritten(part: string, name: string, work: () => Promise<void>): Promise<void> {
    const retried: Retried = { part, work, hasFailed: false };
    this.#retried.set(name, retried);
    return this.#run(part, async () => {
      try {
        await work();
        if (this.#retried.peek(name) === retried) this.#retried.delete(name);
      } catch (cause) {
        retried.hasFailed = true;
        this.#retryTimer ??= setTimeout(() => this.#retry(), this.#retryAfterMs).unref();
        throw cause;
      }
    });
  }

  /** Retries what failed once more. Resolves when no work is running. */
  async idle(): Promise<void> {
    this.#retry();
    while (this.#running.size > 0) await Promise.all(this.#running);
    clearTimeout(this.#retryTimer);
  }

  /** Resolves when the work that runs now has ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  #run(part: string, work: () => Promise<void>): Promise<void> {
    const done: Promise<void> = Promise.try(work)
      .catch((cause: unknown) => {
        if (!(cause instanceof Postponed)) this.#observer.internalError({ part, cause });
      })
      .finally(() => this.#running.delete(done));
    this.#running.add(done);
    return done;
  }

  #retry(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    for (const [name, { part, work, hasFailed }] of this.#retried.entries().toArray()) {
      if (hasFailed) void this.retryUntilWritten(part, name, work);
    }
  }
}
