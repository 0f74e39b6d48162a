import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from './config/schema.ts';
import { Certificate } from './http/certificate.ts';
import { createManagementApp, type Readiness } from './http/management.ts';
import type { OverloadLimits } from './http/middleware/overload.ts';
import { ReadBuffers } from './http/read-buffers.ts';
import { createRegistryApp, Listener } from './http/server.ts';
import { Rebuilder } from './index/rebuilder.ts';
import { SqliteIndex } from './index/sqlite-index.ts';
import { StoreLock } from './index/store-lock.ts';
import type { Part } from './lifecycle.ts';
import { mirrorLimits, mirrorRules } from './mirror-rules.ts';
import { type AssembledMirror, assembleMirror } from './mirror/assemble.ts';
import type { Clock } from './mirror/ports/clock.ts';
import type { Memory } from './mirror/ports/memory.ts';
import type { Totals } from './mirror/ports/store-index.ts';
import { RateLimits } from './mirror/rate-limits.ts';
import { MemoryBudget } from './mirror/concurrency/memory-budget.ts';
import { MemoryShare, sharesByName } from './mirror/concurrency/memory-share.ts';
import { Scrubber } from './mirror/scrubber.ts';
import { prompt } from './prompt.ts';
import { FileBlobStore } from './storage/filesystem/blob-store.ts';
import { DurableFolders } from './storage/filesystem/durable-folders.ts';
import { type FileSystem, nodeFiles } from './storage/filesystem/file-system.ts';
import type { FailpointHook } from './storage/filesystem/failpoints.ts';
import { FileRecordStore } from './storage/filesystem/record-store.ts';
import { systemClock } from './system-clock.ts';
import type { Log } from './telemetry/log.ts';
import { UpstreamHealth } from './telemetry/upstream-health.ts';
import { createMetrics, type Metrics } from './telemetry/metrics.ts';
import { type Pauses, realPauses } from './upstream/retry.ts';
import { createUpstreamDirectory, type OpenUpstreamDirectory } from './upstream/upstream-directory.ts';
import { upstreamEntries } from './upstream-settings.ts';

export interface AppDeps {
  readonly config: Config;
  readonly version: string;
  readonly nodeVersion: string;
  readonly log: Log;
  readonly failpoint: FailpointHook;
  /** The machine's, where absent. */
  readonly clock?: Clock;
  /** What the stores write to. The machine's, where absent. */
  readonly files?: FileSystem;
  /** How long a client is left without headers; for tests. */
  readonly patienceMs?: number | undefined;
  /** Before an upstream is asked again; for tests. */
  readonly pauses?: Pauses;
}

export interface App {
  /** In the order in which they start. */
  readonly parts: readonly Part[];
  /** Where clients pull, once it listens. */
  readonly address: () => string;
  /** Where operators look, once it listens. */
  readonly managementAddress: () => string;
  /** From here on it is not ready. */
  beginDraining(): void;
  /** Asks every upstream for a sign of life, and waits for none: the log and readyz say which cannot be reached. */
  knock(): void;
  /** A failure that no code handled: logged with its stack and counted. It ends nobody's pull. */
  reportUnhandled(cause: unknown): void;
  /** Follows a changed configuration, as far as that can be done while running; see sectionsThatNeedRestart. */
  reload(changed: Config): void;
}

const sweepEveryMs = 60_000;
const managementIdleMs = 60_000;
/** How long an operator's question waits for the disk. */
const readWithinMs = 1_000;
const unknownUse = { bytes: Number.NaN, files: Number.NaN };
const unknownTotals: Totals = {
  bytes: Number.NaN,
  manifests: Number.NaN,
  blobs: Number.NaN,
  diskBytes: Number.NaN,
  keptBytes: Number.NaN,
  records: Number.NaN,
};

/** Builds every part from a Config and hands each what it needs. */
export function createApp({
  config,
  version,
  nodeVersion,
  log,
  failpoint,
  clock = systemClock,
  files = nodeFiles,
  patienceMs,
  pauses = realPauses,
}: AppDeps): App {
  const state = { isStarting: true, isDraining: false };
  const health = new UpstreamHealth({
    labels: config.upstreams.map(({ name }) => name),
    clock,
    onChange: (event) => log.logger[event.state === 'reachable' ? 'info' : 'warn'](event, 'upstream'),
  });
  const rateLimits = new RateLimits({ clock });
  const memory = new MemoryBudget({ maxBytes: config.download.bufferBudgetBytes });
  const observer = createMetrics({
    memory,
    version,
    nodeVersion,
    maxBytes: config.storage.maxBytes,
    maxFiles: config.storage.maxFiles,
    totals: () => totals().catch(() => unknownTotals),
    freeBytes: () => freeBytes(),
    droppedLogLines: () => log.droppedLines,
    pendingBytes: () => store.pendingBytes(),
    use: () => use().catch(() => unknownUse),
    onTrouble: ({ part, cause }) => log.logger.error({ part, err: cause }, 'trouble'),
    onRateLimitSeen: (event) => rateLimits.note(event),
    onUpstreamAnswered: (event) => health.note(event),
    onCircuitChanged: (event) => log.logger.warn(event, 'upstream circuit'),
    onDownloadFailed: ({ upstream, result, bytes, cause }) =>
      log.logger.warn({ upstream, result, bytes, err: cause }, 'download failed'),
  });
  const { path } = config.storage;
  const folders = new DurableFolders({ files: nodeFiles });
  const lock = new StoreLock({ folder: path, files: folders, observer });
  const limits = mirrorLimits(config);
  const { keep } = limits;
  const index = new SqliteIndex({ path: config.index.path, files: folders, observer, clock, runs: lock, keep });
  const hold = () => lock.hold();
  const store = new FileBlobStore({ path, observer, clock, failpoint, files, hold });
  const totals = prompt(() => index.totals(), { withinMs: readWithinMs });
  const freeBytes = prompt(() => store.freeBytes(), { withinMs: readWithinMs });
  const records = new FileRecordStore({ path, observer, failpoint, files, hold });
  // Half of it stays for what is here already, and one upstream cannot keep the other half from the others.
  const memoryFor = sharesByName(new MemoryShare(memory, 1 / 2), 1 / 2);
  let upstreams = directoryOf(config, { version, clock, observer, memoryFor, pauses });
  const parts = { store, records, index, clock, observer, rateLimits, memory };
  const assembled = assembleMirror(parts, limits, mirrorRules(config, upstreams));
  const use = prompt(() => assembled.use(), { withinMs: readWithinMs });
  const report = (bug: unknown) => log.logger.error({ err: bug }, 'bug');
  const buffers = new ReadBuffers({ memory });
  const registry = registryListener(config, {
    ...assembled,
    clock,
    observer,
    memory,
    buffers,
    report,
    log,
    patienceMs,
  });
  const readiness = async (): Promise<Readiness> => {
    const storeTrouble = lock.isMoved ? 'moved' : await troubleOf(freeBytes);
    return {
      isReady: !state.isStarting && !state.isDraining && storeTrouble === undefined,
      body: {
        ...state,
        store: storeTrouble ?? 'ok',
        index: index.needsRebuild ? 'rebuilding' : 'ok',
        upstreams: health.states(),
      },
    };
  };
  const sweep = () => void assembled.sweep().catch((cause: unknown) => observer.trouble({ part: 'eviction', cause }));
  const onIndexChange = (state: 'rebuilding' | 'rebuilt', reason?: string): void => {
    log.logger.info({ state, reason }, 'index');
    if (state === 'rebuilt') sweep(); // What was not counted yet made room for more than there is.
  };
  const management = managementListener(config, { readiness, observer, report });
  const ready: Part = {
    name: 'readiness',
    start: async () => {
      state.isStarting = false;
    },
    stop: async () => {},
  };
  return {
    parts: [
      lock,
      index,
      partOf('store', { start: () => store.prepare() }),
      new Rebuilder({ store, records, index, observer, onChange: onIndexChange }),
      partOf('upstreams', { stop: () => upstreams.close() }),
      partOf('mirror', { stop: (options) => assembled.stop(options) }),
      sweeper(sweep),
      new Scrubber({
        store,
        clock,
        observer,
        everyMs: config.storage.scrubEveryMs,
        bytesPerSecond: config.storage.scrubBytesPerSecond,
        random: () => Math.random(),
        onSetAside: (digest) => assembled.storeAgain(digest),
        wait: (ms, { signal }) => sleep(ms, undefined, { signal }),
      }),
      management,
      registry,
      ready,
    ],
    address: () => registry.address,
    managementAddress: () => management.address,
    beginDraining: () => {
      state.isDraining = true;
    },
    knock: () => knockAtAll(upstreams, config),
    reportUnhandled: (cause) => {
      log.logger.error({ err: cause }, 'unhandled rejection');
      observer.unhandledRejection();
    },
    reload: (changed) => {
      const former = upstreams;
      const next = directoryOf(changed, { version, clock, observer, memoryFor, pauses });
      assembled.follow(mirrorRules(changed, next));
      upstreams = next;
      knockAtAll(next, changed);
      health.follow(changed.upstreams.map(({ name }) => name));
      log.logger.level = changed.log.level;
      // What runs on the former connections ends in peace.
      void former.retire().catch((cause: unknown) => observer.trouble({ part: 'upstream connections', cause }));
    },
  };
}

function directoryOf(
  config: Config,
  {
    version,
    ...deps
  }: { version: string; clock: Clock; observer: Metrics; memoryFor: (label: string) => Memory; pauses: Pauses },
): OpenUpstreamDirectory {
  return createUpstreamDirectory({ entries: upstreamEntries(config, { version }), ...deps });
}

/** Those that are offline are never asked. */
function knockAtAll(directory: OpenUpstreamDirectory, { upstreams }: Pick<Config, 'upstreams'>): void {
  const { signal } = new AbortController(); // Each has timeouts of its own, and closing the directory ends them all.
  for (const { name, freshness } of upstreams) if (!freshness.offline) void directory.knock(name, { signal });
}

function registryListener(
  config: Config,
  deps: Pick<AssembledMirror, 'mirror'> & {
    readonly clock: Clock;
    readonly observer: Metrics;
    readonly memory: Memory;
    readonly buffers: ReadBuffers;
    readonly report: (bug: unknown) => void;
    readonly log: Log;
    readonly patienceMs: number | undefined;
  },
): Listener {
  const { tls, host, port } = config.listen;
  const { idleTimeoutMs, maxConnections, maxRequests } = config.clients;
  const limits: OverloadLimits = { maxRequests, isSurplus: (socket) => listener.isSurplus(socket) };
  const app = createRegistryApp({
    ...deps,
    limits,
    log: (line) => deps.log.request(line),
    onClientCredentials: () =>
      deps.log.logger.warn('a client sends credentials: they are ignored, since clients.mode is anonymous'),
  });
  const certificate = tls && new Certificate(tls, { report: deps.report });
  const listener = new Listener(app, {
    name: 'registry listener',
    host,
    port,
    certificate,
    idleTimeoutMs,
    maxConnections,
    onRejected: (reason) => deps.observer.rejected({ reason }),
  });
  return listener;
}

function managementListener(
  config: Config,
  {
    readiness,
    observer,
    report,
  }: { readiness: () => Promise<Readiness>; observer: Metrics; report: (bug: unknown) => void },
): Listener {
  const metrics = async () => ({ contentType: observer.contentType, text: await observer.text() });
  const app = createManagementApp({ readiness, metrics, report });
  const { host, port } = config.management;
  return new Listener(app, { name: 'management listener', host, port, idleTimeoutMs: managementIdleMs });
}

/** Why the store cannot be used, in a word; undefined when it can. A full disk is no reason: what is cached is still served. */
async function troubleOf(freeBytes: () => Promise<number>): Promise<string | undefined> {
  try {
    await freeBytes();
    return undefined;
  } catch (cause) {
    return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unusable';
  }
}

/** Evicts what is due, now and then. */
function sweeper(sweep: () => void): Part {
  let timer: NodeJS.Timeout | undefined;
  return partOf('sweeper', {
    start: async () => {
      timer = setInterval(sweep, sweepEveryMs).unref();
      sweep(); // It finds what former processes left.
    },
    stop: async () => clearInterval(timer),
  });
}

function partOf(name: string, work: Partial<Pick<Part, 'start' | 'stop'>>): Part {
  return { name, start: async () => {}, stop: async () => {}, ...work };
}
