import type { Observer } from './ports.ts';

/** Work nobody waits for, with an owner: its failures are told, and stopping waits for it. */
export class Background {
  readonly #running = new Set<Promise<void>>();
  readonly #observer: Observer;

  constructor({ observer }: { observer: Observer }) {
    this.#observer = observer;
  }

  run(part: string, work: () => Promise<void>): void {
    const done: Promise<void> = work()
      .catch((cause: unknown) => this.#observer.trouble({ part, cause }))
      .finally(() => this.#running.delete(done));
    this.#running.add(done);
  }

  /** Resolves when nothing is running any more. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}
