import type { Readiness } from '../http/management/management.ts';
import type { SqliteIndex } from '../index/sqlite/sqlite-index.ts';
import type { StoreLock } from '../index/store-lock.ts';
import type { Part } from './lifecycle.ts';
import type { SharedStorage } from './shared-storage.ts';
import type { UpstreamHealth } from './upstream-health.ts';

export interface ReadyPartDeps {
  readonly lock: Pick<StoreLock, 'isMoved'>;
  readonly index: Pick<SqliteIndex, 'needsRebuild'>;
  readonly freeBytes: () => Promise<number>;
  readonly health: Pick<UpstreamHealth, 'states'>;
  readonly sharedStorage: Pick<SharedStorage, 'state'>;
}

/** Reports readiness: all parts have started, the mirror is not draining, and the store is usable. */
export class ReadyPart implements Part {
  readonly name = 'readiness';
  readonly #deps: ReadyPartDeps;
  #isStarting = true;
  #isDraining = false;

  constructor(deps: ReadyPartDeps) {
    this.#deps = deps;
  }

  async start(): Promise<void> {
    this.#isStarting = false;
  }

  async stop(): Promise<void> {}

  beginDraining(): void {
    this.#isDraining = true;
  }

  async now(): Promise<Readiness> {
    const { lock, index, freeBytes, health, sharedStorage } = this.#deps;
    const bucket = sharedStorage.state();
    const unusable = lock.isMoved ? 'moved' : await reasonOf(freeBytes);
    const [isStarting, isDraining] = [this.#isStarting, this.#isDraining];
    return {
      isReady: !isStarting && !isDraining && unusable === undefined,
      body: {
        isStarting,
        isDraining,
        store: unusable ?? 'ok',
        index: index.needsRebuild ? 'rebuilding' : 'ok',
        ...(bucket && { sharedStorage: bucket }),
        upstreams: health.states(),
      },
    };
  }
}

/** The reason that the store cannot be used, as one word; undefined when it can. A full disk is none: cached content is still served. */
async function reasonOf(freeBytes: () => Promise<number>): Promise<string | undefined> {
  try {
    await freeBytes();
    return undefined;
  } catch (cause) {
    return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unusable';
  }
}
