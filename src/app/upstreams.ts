import type { Config } from '../config/schema.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Memory } from '../mirror/ports/memory.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import type { Tracing } from '../mirror/ports/tracing.ts';
import type { UpstreamMonitor } from '../mirror/ports/upstream.ts';
import type { Pauses } from '../upstream/failover/retry.ts';
import { createUpstreamDirectory, type OpenUpstreamDirectory } from '../upstream/upstream-directory.ts';
import type { Part } from './lifecycle.ts';
import { upstreamEntries } from './upstream-settings.ts';

export interface UpstreamsDeps {
  readonly version: string;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly monitor: UpstreamMonitor;
  readonly memoryFor: (label: string) => Memory;
  readonly pauses: Pauses;
  readonly tracing?: Tracing | undefined;
}

type UpstreamsConfig = Pick<Config, 'upstreams'>;

/** The upstreams of the current configuration, with their connections. */
export class Upstreams implements Part {
  readonly name = 'upstreams';
  readonly #deps: UpstreamsDeps;
  #config: UpstreamsConfig;
  #directory: OpenUpstreamDirectory;

  /** @throws ConfigError when a certificate towards an upstream cannot be used. */
  constructor(config: UpstreamsConfig, deps: UpstreamsDeps) {
    this.#deps = deps;
    this.#config = config;
    this.#directory = this.open(config);
  }

  get directory(): OpenUpstreamDirectory {
    return this.#directory;
  }

  async start(): Promise<void> {}

  stop(): Promise<void> {
    return this.#directory.close();
  }

  /** Makes the upstreams of another configuration, for {@link replace}. @throws ConfigError as the constructor does. */
  open(config: UpstreamsConfig): OpenUpstreamDirectory {
    const { version, ...deps } = this.#deps;
    return createUpstreamDirectory({ entries: upstreamEntries(config, { version }), ...deps });
  }

  /** Pings the new upstreams, and closes the previous ones once their running requests have ended. */
  replace(config: UpstreamsConfig, directory: OpenUpstreamDirectory): void {
    const previous = this.#directory;
    this.#config = config;
    this.#directory = directory;
    this.ping();
    const { observer } = this.#deps;
    void previous.retire().catch((cause: unknown) => observer.internalError({ part: 'upstream connections', cause }));
  }

  /** Pings every upstream that is not `offline`, without waiting for the answers. */
  ping(): void {
    const { signal } = new AbortController(); // Each ping has its own timeout, and closing the directory ends them all.
    for (const { name, freshness } of this.#config.upstreams) {
      if (!freshness.offline) void this.#directory.ping(name, { signal });
    }
  }
}
