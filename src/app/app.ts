import type { Config } from '../config/schema.ts';
import { assembleMirror } from '../mirror/assemble.ts';
import type { AssembledMirror } from '../mirror/mirror-parts.ts';
import { MemoryBudget, MemoryShare, sharesByName } from '../mirror/concurrency/memory-budget.ts';
import { type Clock, systemClock } from '../mirror/ports/clock.ts';
import { RateLimits } from '../mirror/routing/rate-limits.ts';
import type { FailpointHook } from '../storage/filesystem/failpoints.ts';
import { type FileSystem, nodeFiles } from '../storage/filesystem/file-system.ts';
import type { Log } from '../telemetry/log.ts';
import { createMetrics, type Metrics } from '../telemetry/metrics.ts';
import type { Traces } from '../telemetry/tracing.ts';
import { type Pauses, realPauses } from '../upstream/failover/retry.ts';
import { type Part, partOf } from './lifecycle.ts';
import { createAdministration } from './administration/administration.ts';
import { createEvents, type EventsDeps } from './events/events.ts';
import { StorePins, type StorePinsDeps } from './administration/pins-administration.ts';
import { createCluster } from './cluster/cluster.ts';
import { createListeners } from './listeners.ts';
import { createMaintenance } from './maintenance.ts';
import { mirrorLimits, mirrorRules } from './mirror-rules.ts';
import { readingsOf } from './readings.ts';
import { ReadyPart } from './ready-part.ts';
import type { ReloadResult } from './reloading.ts';
import { servingReadings } from './serving-readings.ts';
import { createSharedStorage, type SharedStorageDeps } from './bucket/shared-storage.ts';
import { createStores, type Stores } from './stores.ts';
import { UpstreamHealth } from './upstream-health.ts';
import { Upstreams } from './upstreams.ts';

export interface AppDeps {
  readonly config: Config;
  /** Of the file that it was read from. */
  readonly configSha256?: string | undefined;
  readonly version: string;
  /** Of its source, where that is known. */
  readonly revision?: string | undefined;
  readonly nodeVersion: string;
  readonly log: Log;
  /** The id of this replica, as the log names it. By default a new one. */
  readonly replicaId?: string | undefined;
  readonly failpoint: FailpointHook | undefined;
  /** By default requests are not traced. */
  readonly tracing?: Traces | undefined;
  /** By default the system's. */
  readonly clock?: Clock;
  /** The file system that the stores write to. By default the system's. */
  readonly files?: FileSystem;
  /** How long a client waits for headers; for tests. */
  readonly requestDeadlineMs?: number | undefined;
  /** The pauses before retries towards an upstream; for tests. */
  readonly pauses?: Pauses;
  /** The pauses between looks at whether the shared bucket is to be swept; for tests. */
  readonly bucketWait?: SharedStorageDeps['wait'];
  /** Likewise, before events are told of and webhooks are tried again. */
  readonly eventWait?: EventsDeps['wait'];
  /** Likewise, before pins are read again that the disk could not read. */
  readonly pinsWait?: StorePinsDeps['wait'];
}

export interface App {
  /** In the order in which they start. */
  readonly parts: readonly Part[];
  /** The URL for clients, once it listens. */
  readonly address: () => string;
  /** The URL of the management listener, once it listens. */
  readonly managementAddress: () => string;
  /** From now on the mirror reports that it is not ready, and clients connect anew for each request: to another replica, if there is one. */
  beginDraining(): void;
  /** Pings every upstream without waiting for the answers: the log and readyz say which cannot be reached. */
  pingUpstreams(): void;
  /** Logs an unhandled rejection with its stack, and counts it. The process keeps running. */
  reportUnhandled(cause: unknown): void;
  /** Applies the sections of a changed configuration that need no restart; see sectionsThatNeedRestart. */
  reload(changed: Config): void;
  /** How the management API reloads the configuration file. */
  reloadBy(reloadNow: () => Promise<ReloadResult>): void;
  /** Tells how a reload ended. */
  reloadEnded(result: ReloadResult): void;
}

/** What a reload changes. */
interface Reloaded {
  readonly upstreams: Upstreams;
  readonly mirror: Pick<AssembledMirror, 'follow'>;
  readonly health: UpstreamHealth;
  readonly log: Log;
  readonly observer: Pick<Metrics, 'followUpstreams'>;
}

/** Builds every part from a configuration. Nothing runs until the parts are started. */
export function createApp(deps: AppDeps): App {
  const { config, version, log, tracing, clock = systemClock, pauses = realPauses } = deps;
  const { events, observer } = observed(deps, { clock, hold: () => stores.lock.hold() });
  const health = createHealth(config, { clock, log });
  const rateLimits = new RateLimits({ clock });
  const memory = new MemoryBudget({ maxBytes: config.download.bufferBudgetBytes });
  const monitor = { health, rateLimits }; // Readiness and tag lifetimes depend on what the upstreams answer.
  const asking = { version, clock, observer, monitor, memoryFor: sharesOf(memory), pauses, tracing };
  const upstreams = new Upstreams(config, asking);
  const limits = mirrorLimits(config);
  const { failpoint, files = nodeFiles, requestDeadlineMs, replicaId, configSha256, bucketWait: wait } = deps;
  const stores = createStores(config, { clock, observer, failpoint, files, keep: limits.keep });
  const sharedStorage = createSharedStorage(config, { stores, memory, clock, observer, wait });
  const sharing = { clock, observer, memory, log, tracing, bucket: sharedStorage.bucket, replicaId };
  const cluster = createCluster(config, sharing);
  const pins = new StorePins({ ...sharing, stores, files, ...config.storage, ...limits, wait: deps.pinsWait });
  const core = { ...stores, clock, observer, rateLimits, memory, tracing, ...sharedStorage.parts, ...cluster.work };
  const mirror = assembleMirror({ ...core, pins: pins.pins }, limits, mirrorRules(config, upstreams.directory));
  const readings = readingsOf(config, { stores, mirror, sharedStorage, pins: pins.pins, clock });
  const redis = connectionsOf({ ...stores.redis, ...cluster.redis });
  const ready = new ReadyPart({ ...stores, ...readings, health, sharedStorage, cluster, redis, configSha256 });
  const administered = { observer, stores, clock, files, log, health, upstreams, mirror, readings, rateLimits, pins };
  const { administration, kept, jobs, archives, recent } = createAdministration(config, { ...administered, events });
  const listening = { ...core, ...mirror, log, readiness: () => ready.now(), administration, requestDeadlineMs };
  const { registry, management, running } = createListeners(config, { ...listening, recent });
  const { rebuilder, sweeper, scrubber } = createMaintenance(config, { stores, mirror, observer, log });
  const siblings = cluster.listener(mirror.mirror);
  const serving = servingReadings({ ready, registry, siblings, running, health, upstreams, mirror });
  observer.followUpstreams(followedOf(config));
  observer.readFrom({ ...readings, ...serving, ...events, memory, droppedLogLines: () => log.droppedLines });
  return {
    parts: [
      ...storeParts(stores, events.part, ...kept),
      rebuilder,
      sharedStorage.part, // Stopped after the mirror, whose last downloads are uploaded by the next process.
      upstreams,
      management, // Stopped after the mirror, so that /metrics and /readyz can be read while downloads drain.
      events.streams,
      cluster.connections,
      partOf('mirror', { stop: (options) => mirror.stop(options) }),
      archives,
      jobs, // Cancelled before the mirror stops, so that their downloads are left to be resumed.
      sweeper,
      scrubber,
      siblings,
      sharedStorage.sweeper(cluster),
      registry,
      cluster.membership,
      ready,
    ],
    address: () => registry.address,
    managementAddress: () => management.address,
    beginDraining: () => [ready, registry].forEach((part) => part.beginDraining()),
    pingUpstreams: () => upstreams.ping(),
    reportUnhandled: (cause) => observer.unhandledRejection(cause),
    reload: (changed) => reload(changed, { upstreams, mirror, health, log, observer }),
    reloadBy: (reloadNow) => administration.reloadBy(reloadNow),
    reloadEnded: (result) => [ready, observer].forEach((part) => part.reloadEnded(result)),
  };
}

/** The parts of a store, and those that keep something in it. */
function storeParts({ lock, index, store, reserve, changes }: Stores, ...kept: readonly Part[]): readonly Part[] {
  // The index cannot be opened on a disk without a free byte; later removals need room again. The reserve is made by the sweeper: a slow
  // disk does not hold up the start.
  let wasGivenBack = false;
  const giveBack = async () => void (wasGivenBack = (await reserve?.giveBack()) ?? false);
  const room = partOf('reserve', { start: giveBack });
  const retaken = partOf('reserve, retaken', { start: async () => void (wasGivenBack && (await reserve?.retake())) });
  const prepared = partOf('store', { start: () => store.prepare() });
  return [lock, room, ...(changes ? [changes] : []), index, prepared, retaken, ...kept];
}

/** Everything that the parts report is counted, and told of if it is worth an event. */
function observed(deps: AppDeps, { clock, hold }: Pick<EventsDeps, 'clock' | 'hold'>) {
  const { config, version, files = nodeFiles, eventWait: wait } = deps;
  const metrics = observerOf(deps);
  const events = createEvents(config, { version, clock, files, hold, observer: metrics, wait });
  return { events, observer: events.observing(metrics) };
}

/** Undefined if there is none. */
function connectionsOf<Connections extends object>(connections: Connections): Connections | undefined {
  return Object.keys(connections).length > 0 ? connections : undefined;
}

function observerOf({ version, revision, nodeVersion, log, tracing, clock = systemClock }: AppDeps): Metrics {
  const metrics = createMetrics({ version, revision, nodeVersion, log, clock });
  return tracing?.observing(metrics) ?? metrics;
}

function reload(changed: Config, parts: Reloaded): void {
  const { upstreams, mirror, health, log, observer } = parts;
  const next = upstreams.open(changed);
  mirror.follow(mirrorRules(changed, next));
  upstreams.replace(changed, next);
  health.follow(labelsOf(changed));
  observer.followUpstreams(followedOf(changed));
  log.logger.level = changed.log.level;
}

function createHealth(config: Config, { clock, log }: { readonly clock: Clock; readonly log: Log }): UpstreamHealth {
  return new UpstreamHealth({
    labels: labelsOf(config),
    clock,
    onChange: (event) => log.logger[event.state === 'reachable' ? 'info' : 'warn'](event, 'upstream'),
  });
}

function labelsOf({ upstreams }: Config): readonly string[] {
  return upstreams.map(({ name }) => name);
}

function followedOf({ upstreams }: Config): Parameters<Metrics['followUpstreams']>[0] {
  return upstreams.map(({ name, credentials, mirrors }) => {
    const accounts = [...credentials, ...mirrors.flatMap((mirror) => mirror.credentials)];
    return { name, hasAccount: accounts.length > 0 };
  });
}

/** Upstreams get half of the memory budget, and a single upstream at most half of that. The rest is for cached content. */
function sharesOf(memory: MemoryBudget) {
  return sharesByName(new MemoryShare(memory, 1 / 2), 1 / 2);
}
