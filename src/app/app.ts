import { setTimeout as sleep } from 'node:timers/promises';
import { managementListener, registryListener } from './listeners.ts';
import { partOf, sweeper } from './parts.ts';
import { ReadyPart } from './ready-part.ts';
import { directoryOf, pingAll } from './upstreams.ts';
import type { Config } from '../config/schema.ts';
import { ReadBuffers } from '../http/response/read-buffers.ts';
import { Rebuilder } from '../index/rebuilder.ts';
import { SqliteIndex } from '../index/sqlite/sqlite-index.ts';
import { StoreLock } from '../index/store-lock.ts';
import type { Part } from './lifecycle.ts';
import { mirrorLimits, mirrorRules } from './mirror-rules.ts';
import { assembleMirror } from '../mirror/assemble.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Totals } from '../mirror/ports/store-index.ts';
import { RateLimits } from '../mirror/routing/rate-limits.ts';
import { MemoryBudget } from '../mirror/concurrency/memory-budget.ts';
import { MemoryShare, sharesByName } from '../mirror/concurrency/memory-share.ts';
import { Scrubber } from '../mirror/eviction/scrubber.ts';
import { prompt } from './prompt.ts';
import { FileBlobStore } from '../storage/filesystem/blob-store.ts';
import { DurableFolders } from '../storage/filesystem/durable-folders.ts';
import { type FileSystem, nodeFiles } from '../storage/filesystem/file-system.ts';
import type { FailpointHook } from '../storage/filesystem/failpoints.ts';
import { FileRecordStore } from '../storage/filesystem/record-store.ts';
import { systemClock } from './system-clock.ts';
import type { Log } from '../telemetry/log.ts';
import { UpstreamHealth } from '../telemetry/upstream-health.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { type Pauses, realPauses } from '../upstream/failover/retry.ts';

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
  /** Logs an unhandled rejection with its stack, and counts it. The process goes on. */
  reportUnhandled(cause: unknown): void;
  /** Follows a changed configuration, as far as that can be done while running; see sectionsThatNeedRestart. */
  reload(changed: Config): void;
}

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
  const ready = new ReadyPart({ lock, index, freeBytes, health });
  const sweep = () => void assembled.sweep().catch((cause: unknown) => observer.trouble({ part: 'eviction', cause }));
  const onIndexChange = (state: 'rebuilding' | 'rebuilt', reason?: string): void => {
    log.logger.info({ state, reason }, 'index');
    if (state === 'rebuilt') sweep(); // What was not counted yet made room for more than there is.
  };
  const management = managementListener(config, { readiness: () => ready.now(), observer, report });
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
    beginDraining: () => ready.beginDraining(),
    knock: () => pingAll(upstreams, config),
    reportUnhandled: (cause) => {
      log.logger.error({ err: cause }, 'unhandled rejection');
      observer.unhandledRejection();
    },
    reload: (changed) => {
      const former = upstreams;
      const next = directoryOf(changed, { version, clock, observer, memoryFor, pauses });
      assembled.follow(mirrorRules(changed, next));
      upstreams = next;
      pingAll(next, changed);
      health.follow(changed.upstreams.map(({ name }) => name));
      log.logger.level = changed.log.level;
      // What runs on the former connections ends in peace.
      void former.retire().catch((cause: unknown) => observer.trouble({ part: 'upstream connections', cause }));
    },
  };
}
