import type { RedisState } from '../cluster/redis/connection.ts';
import type { Readiness } from '../http/management/management.ts';
import type { LosableIndex } from '../index/rebuilder.ts';
import type { StoreLock } from '../index/store-lock.ts';
import type { Cluster } from './cluster/cluster.ts';
import type { Part } from './lifecycle.ts';
import type { ReloadResult } from './reloading.ts';
import type { SharedStorage } from './bucket/shared-storage.ts';
import type { UpstreamHealth } from './upstream-health.ts';

export interface ReadyPartDeps {
  readonly lock: Pick<StoreLock, 'isMoved'>;
  readonly index: Pick<LosableIndex, 'needsRebuild'>;
  readonly freeBytes: () => Promise<number>;
  readonly arePinsKnown: () => boolean;
  readonly health: Pick<UpstreamHealth, 'states'>;
  readonly sharedStorage: Pick<SharedStorage, 'state'>;
  /** By the use of the connection: `index`, `cluster`. The mirror is ready whatever they say. */
  readonly redis?: Readonly<Record<string, { readonly state: RedisState }>> | undefined;
  /** The SHA-256 of the configuration file at the start of the process. */
  readonly configSha256?: string | undefined;
  /** What this replica shares with others, if it does. */
  readonly cluster?: Pick<Cluster, 'state'> | undefined;
}

/** The configuration file in use, and the one that was refused since, each by the SHA-256 of its content. */
interface ConfigState {
  readonly sha256?: string;
  readonly needRestart?: readonly string[];
  readonly refused?: string;
}

/** Reports readiness: all parts have started, the mirror is not draining, and the store is usable. */
export class ReadyPart implements Part {
  readonly name = 'readiness';
  readonly #deps: ReadyPartDeps;
  #isStarting = true;
  #isDraining = false;
  #config: ConfigState | undefined;

  constructor(deps: ReadyPartDeps) {
    this.#deps = deps;
    this.#config = deps.configSha256 === undefined ? undefined : { sha256: deps.configSha256 };
  }

  async start(): Promise<void> {
    this.#isStarting = false;
  }

  async stop(): Promise<void> {}

  beginDraining(): void {
    this.#isDraining = true;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  reloadEnded({ isUsed, sha256 = 'unreadable', needRestart }: ReloadResult): void {
    this.#config = isUsed
      ? { sha256, ...(needRestart.length > 0 && { needRestart }) }
      : { ...this.#config, refused: sha256 };
  }

  async now(): Promise<Readiness> {
    const { lock, index, freeBytes, arePinsKnown, health, sharedStorage, redis, cluster } = this.#deps;
    const [bucket, shared] = [sharedStorage.state(), cluster?.state()];
    const unusable = lock.isMoved ? 'moved' : await reasonOf(freeBytes);
    const [isStarting, isDraining] = [this.#isStarting, this.#isDraining];
    return {
      isReady: !isStarting && !isDraining && unusable === undefined,
      body: {
        isStarting,
        isDraining,
        store: unusable ?? 'ok',
        index: index.needsRebuild ? 'rebuilding' : 'ok',
        ...(!arePinsKnown() && { pins: 'unreadable' }),
        ...(bucket && { sharedStorage: bucket }),
        ...(this.#config && { config: this.#config }),
        upstreams: health.states(),
        ...(redis && { redis: redisStates(redis) }),
        ...(shared && { cluster: shared }),
      },
    };
  }
}

function redisStates(connections: NonNullable<ReadyPartDeps['redis']>): object {
  const states = Object.entries(connections).map(([use, { state: connection }]) => {
    const { state, reason, sinceMs, harmfulPolicy } = connection;
    const warning = harmfulPolicy && `maxmemory-policy ${harmfulPolicy} may evict keys that must stay`;
    return [use, { state, reason, since: new Date(sinceMs).toISOString(), warning }] as const;
  });
  return Object.fromEntries(states);
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
