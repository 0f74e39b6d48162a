import { setTimeout as sleep } from 'node:timers/promises';
import { type RebuildDeps, rebuildIndex } from './rebuild.ts';

export interface RebuilderDeps extends RebuildDeps {
  readonly onChange: (state: 'rebuilding' | 'rebuilt') => void;
  /** Resolves after `ms`. @throws when the signal aborts before. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

const retryDelayMs = 60_000;

/** Rebuilds the index beside everything else, where it needs it, and tries again as long as the store refuses to be read. */
export class Rebuilder {
  readonly name = 'index rebuild';
  readonly #deps: Required<RebuilderDeps>;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor({ wait = (ms, signal) => sleep(ms, undefined, { signal }), ...deps }: RebuilderDeps) {
    this.#deps = { wait, ...deps };
  }

  /** Does not wait for the rebuild. */
  async start(): Promise<void> {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { index, onChange } = this.#deps;
    if (index.needsRebuild) onChange('rebuilding');
    while (index.needsRebuild && !signal.aborted) {
      try {
        await rebuildIndex({ ...this.#deps, signal });
        onChange('rebuilt');
      } catch (cause) {
        await this.#waitAfter(cause);
      }
    }
  }

  async #waitAfter(cause: unknown): Promise<void> {
    const { signal } = this.#stopping;
    if (signal.aborted) return;
    this.#deps.observer.trouble({ part: 'index rebuild', cause });
    try {
      await this.#deps.wait(retryDelayMs, signal);
    } catch {
      // Stopped while waiting: the loop ends.
    }
  }
}
