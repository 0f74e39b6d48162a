import { LRUCache } from 'lru-cache';
import type { Observer } from '../ports/observer.ts';

/** Beyond so many, what failed first is given up. */
const maxInsisted = 10_000;

export interface BackgroundDeps {
  readonly observer: Pick<Observer, 'trouble'>;
  /** What failed is tried again after so long. */
  readonly retryAfterMs?: number;
}

/** Thrown by work that has to wait for other running work. It is retried like a failure, but not reported. */
export class Postponed extends Error {
  override readonly name = 'Postponed';
}

interface Insisted {
  readonly part: string;
  readonly work: () => Promise<void>;
  hasFailed: boolean;
}

/** Work nobody waits for, with an owner: its failures are told, and stopping waits for it. */
export class Background {
  readonly #running = new Set<Promise<void>>();
  readonly #insisted = new LRUCache<string, Insisted>({ max: maxInsisted });
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
   * Likewise, and what fails is tried again until it goes well, or other work of that name takes its place: a disk that is full now may
   * have room later.
   * @returns when it was tried once. Never rejects.
   */
  insist(part: string, name: string, work: () => Promise<void>): Promise<void> {
    const insisted: Insisted = { part, work, hasFailed: false };
    this.#insisted.set(name, insisted);
    return this.#run(part, async () => {
      try {
        await work();
        if (this.#insisted.peek(name) === insisted) this.#insisted.delete(name);
      } catch (cause) {
        insisted.hasFailed = true;
        this.#retryTimer ??= setTimeout(() => this.#retry(), this.#retryAfterMs).unref();
        throw cause;
      }
    });
  }

  /** Tries what failed once more, and resolves when nothing is running any more. */
  async idle(): Promise<void> {
    this.#retry();
    while (this.#running.size > 0) await Promise.all(this.#running);
    clearTimeout(this.#retryTimer);
  }

  #run(part: string, work: () => Promise<void>): Promise<void> {
    const done: Promise<void> = Promise.try(work)
      .catch((cause: unknown) => {
        if (!(cause instanceof Postponed)) this.#observer.trouble({ part, cause });
      })
      .finally(() => this.#running.delete(done));
    this.#running.add(done);
    return done;
  }

  #retry(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    for (const [name, { part, work, hasFailed }] of this.#insisted.entries().toArray()) {
      if (hasFailed) void this.insist(part, name, work);
    }
  }
}
