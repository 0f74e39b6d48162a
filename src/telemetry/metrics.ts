import { collectDefaultMetrics, type Counter, Gauge, Registry } from 'prom-client';
import { type Clock, systemClock } from '../mirror/ports/clock.ts';
import type {
  BucketObserver,
  ClusterObserver,
  DiskOutcome,
  DownloadResult,
  EventsObserver,
  LeaseEvent,
  Observer,
  RejectionReason,
  StoreObserver,
} from '../mirror/ports/observer.ts';
import type { Answers, RepositoryTotals } from './answers.ts';
import { createBucketMetrics } from './bucket-metrics.ts';
import { createEventMetrics } from './event-metrics.ts';
import { createUpstreamMetrics, downloadEvents, storeEvents, type UpstreamMetrics } from './fetch-metrics.ts';
import { createInstruments, makerFor, type Instruments } from './instruments.ts';
import type { Log } from './log.ts';
import { createReadouts, type Readings } from './readouts.ts';

export interface MetricsDeps {
  readonly version: string;
  /** Of the source that the program was built from. By default `unknown`. */
  readonly revision?: string | undefined;
  readonly nodeVersion: string;
  /** For failures that are not reported to a client. */
  readonly log: Pick<Log, 'logger'>;
  /** Where the metrics are registered; for their page. */
  readonly registry?: Registry;
  /** By default the system's. */
  readonly clock?: Pick<Clock, 'now'>;
}

export type ManagementRejection = Extract<RejectionReason, 'connections' | 'requests' | 'malformed' | 'slow_client'>;

export interface Metrics
  extends Observer,
    ClusterObserver,
    BucketObserver,
    EventsObserver,
    StoreObserver,
    Pick<UpstreamMetrics, 'followUpstreams' | 'activityOf' | 'upstreamTotals'> {
  unhandledRejection(cause: unknown): void;
  /** The management listener has refused a request, or closed a connection. */
  managementRejected(event: { readonly reason: ManagementRejection }): void;
  /** A reload has ended: whether the changed configuration is in use. */
  reloadEnded(result: { readonly isUsed: boolean }): void;
  /** Adds the metrics that are read from the parts on each scrape. To be called once. */
  readFrom(readings: Readings): void;
  /** Answers to clients since the start of the process, by the word for where they came from. */
  answerTotals(): ReturnType<Instruments['answers']['totals']>;
  /** Answers with content, by repository. */
  repositoryTotals(): RepositoryTotals;
  /** The Prometheus text format. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** Counts and logs every event. Nothing in the program depends on what it does. The metrics themselves are in instruments.ts. */
export function createMetrics({
  version,
  revision = 'unknown',
  nodeVersion,
  log,
  registry = new Registry(),
  clock = systemClock,
}: MetricsDeps): Metrics {
  collectDefaultMetrics({ register: registry });
  for (const name of [...metricsOfHeapSpaces, ...countsOfResources]) registry.removeSingleMetric(name);
  new Gauge({
    name: 'layerwell_build_info',
    help: 'Always 1; the labels name the running version. `revision` is the build argument `REVISION` of the image.',
    labelNames: ['version', 'revision', 'node_version'],
    registers: [registry],
  }).set({ version, revision, node_version: nodeVersion }, 1);
  const instruments = createInstruments(registry);
  const upstreams = createUpstreamMetrics(makerFor(registry), { log, clock });
  beginAtZero(instruments);
  return {
    contentType: registry.contentType,
    text: async () => withShortHelp(withoutEmpty(await registry.metrics())),
    answerTotals: () => instruments.answers.totals(),
    repositoryTotals: () => instruments.answers.repositories(),
    readFrom: (readings) => createReadouts(registry, readings),
    ...clientEvents(instruments),
    ...upstreams,
    followUpstreams: (followed) => {
      upstreams.followUpstreams(followed);
      for (const { name } of followed) beginUpstream(instruments, name);
    },
    ...downloadEvents(instruments, log),
    ...storeEvents(instruments),
    imageStored: () => {}, // Counted as contentStored.
    tagMoved: () => {}, // Counted as tagRevalidated.
    siblingAsked: ({ kind, outcome }) => instruments.siblingsAsked.inc({ kind, result: outcome }),
    siblingServed: ({ kind, outcome }) => instruments.siblingsServed.inc({ kind, result: outcome }),
    ...clusterEvents(instruments, log.logger),
    ...createBucketMetrics(makerFor(registry), log.logger),
    ...createEventMetrics(makerFor(registry), log.logger),
    managementRejected: ({ reason }) => {
      instruments.managementRejections.inc({ reason });
      if (reason === 'connections') log.logger.warn('the management listener has too many connections');
    },
    unhandledRejection: (cause) => {
      instruments.unhandledRejections.inc();
      log.logger.error({ err: cause }, 'unhandled rejection');
    },
    reloadEnded: ({ isUsed }) => {
      instruments.lastReload.set(Number(isUsed));
      if (isUsed) instruments.lastGoodReload.setToCurrentTime();
    },
    internalError: ({ part, cause }) => {
      instruments.internalErrors.inc({ part });
      log.logger.error({ part, err: cause }, 'internal error');
    },
  };
}

/** Only who works on V8 reads them, and they are 3 kB of each scrape. */
const metricsOfHeapSpaces = [
  'nodejs_heap_space_size_total_bytes',
  'nodejs_heap_space_size_used_bytes',
  'nodejs_heap_space_size_available_bytes',
];

/** The sums of `nodejs_active_resources`, with names of counters, and what it has as well. */
const countsOfResources = [
  'nodejs_active_resources_total',
  'nodejs_active_handles',
  'nodejs_active_handles_total',
  'nodejs_active_requests',
  'nodejs_active_requests_total',
];

/** Metrics without a series are left out: Prometheus reads nothing from them, and they are 4 kB of each scrape. */
function withoutEmpty(text: string): string {
  return text.replaceAll(/^# HELP .*\n# TYPE .*\n(?:\n|$(?!\n))/gm, '');
}

/** The first sentence of each description, so that a scrape stays small: docs/metrics.md has all of it. */
function withShortHelp(text: string): string {
  return text.replaceAll(/^(# HELP [^.;:\n]*)[.;:] .*$/gm, '$1.');
}

const rejections: readonly RejectionReason[] = [
  'requests',
  'connections',
  'upstream',
  'headers',
  'malformed',
  'tls',
  'slow_client',
];
const managementRejections: readonly ManagementRejection[] = ['connections', 'requests', 'malformed', 'slow_client'];
const downloadResults: readonly DownloadResult[] = [
  'ok',
  'digest_mismatch',
  'short',
  'upstream_error',
  'disk_error',
  'no_room',
  'aborted',
];
const diskFailures: readonly DiskOutcome[] = ['full', 'readonly', 'denied', 'descriptors', 'io', 'other'];
const evictions = ['lru', 'unused', 'purge'];

/** Counters with known labels begin at 0, because Prometheus sees no increase from nothing to 1. */
function beginAtZero(instruments: Instruments): void {
  for (const reason of rejections) instruments.rejections.inc({ reason }, 0);
  for (const reason of managementRejections) instruments.managementRejections.inc({ reason }, 0);
  for (const kind of ['manifest', 'blob', 'tag']) instruments.collapsed.inc({ kind }, 0);
  for (const kind of ['manifest', 'blob']) {
    instruments.admittedObjects.inc({ kind }, 0);
    instruments.admittedBytes.inc({ kind }, 0);
    for (const result of downloadResults) instruments.downloadsByKind.inc({ kind, result }, 0);
  }
  for (const source of ['read', 'scrub']) instruments.corruptions.inc({ source }, 0);
  for (const source of ['download', 'scrub'])
    for (const result of ['ok', 'corrupt']) instruments.integrityChecks.inc({ source, result }, 0);
  instruments.integrityChecks.inc({ source: 'read', result: 'corrupt' }, 0);
  for (const reason of diskFailures) instruments.diskErrors.inc({ reason }, 0);
  for (const reason of evictions) {
    instruments.evictions.inc({ reason }, 0);
    instruments.evictedBytes.inc({ reason }, 0);
  }
}

/** Of an upstream, what an alert reads, and what the hit ratio is computed from. */
function beginUpstream({ answers, downloads }: Instruments, upstream: string): void {
  answers.begin(upstream);
  for (const result of ['ok', 'digest_mismatch']) downloads.inc({ upstream, result }, 0);
}

const leaseEvents: readonly LeaseEvent[] = ['taken', 'waited', 'taken_over', 'lost'];
const commonReasons = ['down', 'connect', 'timeout', 'auth', 'unready', 'readonly', 'full', 'refused'];

/** Counts and logs what happens between replicas. Its counters begin at 0. */
function clusterEvents(instruments: Instruments, logger: MetricsDeps['log']['logger']): ClusterObserver {
  const { redisUp, redisSeconds, redisErrors, replicas, leases } = instruments;
  for (const kind of ['content', 'tag']) for (const event of leaseEvents) leases.inc({ kind, event }, 0);
  return {
    redisAnswered: ({ connection, command, outcome, durationMs }) => {
      if (outcome === 'ok') redisSeconds.observe({ connection, command }, durationMs / 1000);
      else redisErrors.inc({ connection, reason: outcome });
    },
    redisChanged: ({ connection, state, reason, harmfulPolicy, cause }) => {
      redisUp.set({ connection }, state === 'up' ? 1 : 0);
      if (state === 'connecting') for (const each of commonReasons) redisErrors.inc({ connection, reason: each }, 0);
      if (state === 'up') logger.info({ connection }, 'redis is up');
      if (state === 'down') logger.warn({ connection, reason, err: cause }, 'redis is down');
      if (harmfulPolicy !== undefined) {
        logger.warn(
          { connection, policy: harmfulPolicy },
          'the maxmemory-policy of redis may evict keys that must stay',
        );
      }
    },
    replicasKnown: (event) => replicas.set(event.replicas),
    lease: ({ kind, what }) => leases.inc({ kind, event: what }),
  };
}

interface ClientCounters {
  readonly answers: Answers;
  readonly rejections: Counter<'reason'>;
  readonly collapsed: Counter<'kind'>;
  readonly stale: Counter<'upstream' | 'reason'>;
}

/** Counts what clients ask, and what they are answered. */
function clientEvents({
  answers,
  rejections,
  collapsed,
  stale,
}: ClientCounters): Pick<Observer, 'answered' | 'rejected' | 'collapsed' | 'servedStale'> {
  return {
    answered: answers.count.bind(answers), // For every request: without a call between.
    rejected: ({ reason }) => rejections.inc({ reason }),
    collapsed: ({ kind }) => collapsed.inc({ kind }),
    servedStale: ({ upstream, reason }) => stale.inc({ upstream, reason }),
  };
}
