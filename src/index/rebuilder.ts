import { setTimeout as sleep } from 'node:timers/promises';
import type { Observer } from '../mirror/ports/observer.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import { lookAgain, type LookAgainDeps, type RecoverableIndex } from './look-again.ts';
import { type RebuildDeps, rebuildIndex } from './rebuild.ts';

/** An index that can be lost while it is in use. */
export interface LosableIndex extends RecoverableIndex {
  /** Why it must be rebuilt. */
  readonly lossReason: string;
  /** Resolves when the index must be rebuilt, and can be: now, or once it is lost and takes writes. */
  whenLost(options: Waiting): Promise<void>;
  /** Resolves when the totals are those of the store. */
  whenCounted(options: Waiting): Promise<void>;
}

export interface RebuilderDeps extends Pick<LookAgainDeps, 'store' | 'records'> {
  readonly index: LosableIndex;
  readonly observer: Pick<Observer, 'internalError' | 'indexRebuilt'>;
  /** Reads the store ahead, for one rebuild. Absent, and for each retry, it is read call by call. */
  readonly scan?: ((waiting: Waiting) => Pick<RebuildDeps, 'store' | 'records' | 'readTogether'>) | undefined;
  readonly onChange: (state: 'rebuilding' | 'rebuilt', reason?: string) => void;
  /** Resolves after `ms`. @throws when the signal aborts first. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

/** A full disk or missing descriptors may be transient: the first retry comes soon, later ones less often. */
const firstRetryMs = 1_000;
const longestRetryMs = 60_000;
/** How long a start waits for the count: until the store is counted, nothing is stored. */
const countWithinMs = 3_000;

/** Rebuilds the index in the background when it is lost, or has it look again at what may have changed, and retries while the store cannot be read. */
export class Rebuilder {
  readonly name = 'index rebuild';
  readonly #deps: Required<Omit<RebuilderDeps, 'scan'>> & Pick<RebuilderDeps, 'scan'>;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor({ wait = (ms, signal) => sleep(ms, undefined, { signal }), ...deps }: RebuilderDeps) {
    this.#deps = { wait, ...deps };
  }

  /** Waits a moment for the count, not for the rebuild. */
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
    const { index, onChange } = this.#deps;
    while (await this.#isLost()) {
      onChange('rebuilding', index.lossReason);
      for (let failures = 0; index.needsRebuild && (await this.#isLost()); failures += 1) await this.#rebuild(failures);
    }
  }

  /** Waits until the index is lost. @returns false when stopped. */
  async #isLost(): Promise<boolean> {
    const { signal } = this.#stopping;
    await this.#deps.index.whenLost({ signal }).catch(() => {});
    return !signal.aborted;
  }

  async #rebuild(failures: number): Promise<void> {
    try {
      const { changed } = this.#deps.index;
      const deps = { ...this.#deps, signal: this.#stopping.signal };
      // The thread itself may be what failed.
      const ahead = failures === 0 ? deps.scan?.(deps) : undefined;
      await (changed ? lookAgain(changed, deps) : rebuildIndex({ ...deps, ...ahead }));
      if (!changed) this.#deps.observer.indexRebuilt();
      this.#deps.onChange('rebuilt');
    } catch (cause) {
      await this.#waitAfter(cause, Math.min(longestRetryMs, firstRetryMs * 2 ** failures));
    }
  }

  async #waitAfter(cause: unknown, retryMs: number): Promise<void> {
    const { signal } = this.#stopping;
    if (signal.aborted) return;
    this.#deps.observer.internalError({ part: 'index rebuild', cause });
    try {
      await this.#deps.wait(retryMs, signal);
    } catch {
      // Stopped while waiting: the loop ends.
    }
  }
}
