import { setTimeout as sleep } from 'node:timers/promises';
import type { Waiting } from '../mirror/ports/waiting.ts';
import { type RebuildableIndex, type RebuildDeps, rebuildIndex } from './rebuild.ts';

/** An index that may be lost while it is used. */
export interface LosableIndex extends RebuildableIndex {
  /** Why it must be rebuilt. */
  readonly lossReason: string;
  /** Resolves when it must be rebuilt: at once, or when it is lost. */
  whenLost(options: Waiting): Promise<void>;
  /** Resolves when its totals are those of the store. */
  whenCounted(options: Waiting): Promise<void>;
}

export interface RebuilderDeps extends Omit<RebuildDeps, 'index'> {
  readonly index: LosableIndex;
  readonly onChange: (state: 'rebuilding' | 'rebuilt', reason?: string) => void;
  /** Resolves after `ms`. @throws when the signal aborts before. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

/** What fails may be a disk that is full, or descriptors that are spent, for a moment: soon again, then less often. */
const firstRetryMs = 1_000;
const longestRetryMs = 60_000;
/** A start waits so long for what lies in a small store to be counted: before, nothing is stored. */
const countWithinMs = 3_000;

/** Rebuilds the index beside everything else, where it needs it, and tries again as long as the store refuses to be read. */
export class Rebuilder {
  readonly name = 'index rebuild';
  readonly #deps: Required<RebuilderDeps>;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor({ wait = (ms, signal) => sleep(ms, undefined, { signal }), ...deps }: RebuilderDeps) {
    this.#deps = { wait, ...deps };
  }

  /** Does not wait for the rebuild, only a moment for its beginning. */
  async start(): Promise<void> {
    this.#running = this.#run();
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(countWithinMs)]);
    await this.#deps.index.whenCounted({ signal }).catch(() => {});
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { index, onChange } = this.#deps;
    while (await this.#isLost()) {
      onChange('rebuilding', index.lossReason);
      for (let failures = 0; index.needsRebuild && !signal.aborted; failures += 1) await this.#rebuild(failures);
    }
  }

  /** @returns whether there is something to rebuild, once there is; false when it was stopped. */
  async #isLost(): Promise<boolean> {
    const { signal } = this.#stopping;
    await this.#deps.index.whenLost({ signal }).catch(() => {});
    return !signal.aborted;
  }

  async #rebuild(failures: number): Promise<void> {
    try {
      await rebuildIndex({ ...this.#deps, signal: this.#stopping.signal });
      this.#deps.onChange('rebuilt');
    } catch (cause) {
      await this.#waitAfter(cause, Math.min(longestRetryMs, firstRetryMs * 2 ** failures));
    }
  }

  async #waitAfter(cause: unknown, retryMs: number): Promise<void> {
    const { signal } = this.#stopping;
    if (signal.aborted) return;
    this.#deps.observer.trouble({ part: 'index rebuild', cause });
    try {
      await this.#deps.wait(retryMs, signal);
    } catch {
      // Stopped while waiting: the loop ends.
    }
  }
}
