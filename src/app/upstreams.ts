import type { Config } from '../config/schema.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Memory } from '../mirror/ports/memory.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import type { Pauses } from '../upstream/failover/retry.ts';
import { createUpstreamDirectory, type OpenUpstreamDirectory } from '../upstream/upstream-directory.ts';
import { upstreamEntries } from './upstream-settings.ts';

export interface DirectoryDeps {
  readonly version: string;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly memoryFor: (label: string) => Memory;
  readonly pauses: Pauses;
}

/** Makes the upstreams of a configuration, with their own connections. */
export function directoryOf(config: Config, { version, ...deps }: DirectoryDeps): OpenUpstreamDirectory {
  return createUpstreamDirectory({ entries: upstreamEntries(config, { version }), ...deps });
}

/** Pings every upstream that is not `offline`, without waiting for the answers. */
export function pingAll(directory: OpenUpstreamDirectory, { upstreams }: Pick<Config, 'upstreams'>): void {
  const { signal } = new AbortController(); // Each ping has its own timeout, and closing the directory ends them all.
  for (const { name, freshness } of upstreams) if (!freshness.offline) void directory.knock(name, { signal });
}
