import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Observer, Totals } from '../mirror/ports.ts';
import { Tally } from './tally.ts';

export interface MetricsDeps {
  readonly version: string;
  /** Read when somebody scrapes. */
  readonly totals: () => Promise<Totals>;
  readonly freeBytes: () => Promise<number>;
  readonly pendingBytes: () => number;
  readonly maxBytes: number;
  /** Failures no client hears of: for the log. */
  readonly onTrouble: (event: { readonly part: string; readonly cause: unknown }) => void;
  readonly onRateLimitSeen: (event: Parameters<Observer['rateLimitSeen']>[0]) => void;
  /** Every answer of an upstream, and every one that did not come: for readiness. */
  readonly onUpstreamAnswered: (event: Parameters<Observer['upstreamAnswered']>[0]) => void;
  /** An upstream became unreachable, or came back: for the log. */
  readonly onCircuitChanged: (event: Parameters<Observer['circuitChanged']>[0]) => void;
  /** Downloads that did not end well: for the log. */
  readonly onDownloadFailed: (event: Parameters<Observer['downloadEnded']>[0]) => void;
}

export interface Metrics extends Observer {
  /** The Prometheus text format. */
  text(): Promise<string>;
  readonly contentType: string;
}

const secondsOfAnswers = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/**
 * Every metric there is, on one page. Labels come from the configuration or from fixed lists only: never a repository, a tag or an
 * address, whose number clients choose.
 */
export function createMetrics(deps: MetricsDeps): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];

  new Gauge({
    name: 'layerwell_build_info',
    help: 'Always 1; the labels say what runs.',
    labelNames: ['version', 'node_version'],
    registers,
  }).set({ version: deps.version, node_version: process.version }, 1);

  const requests = new Tally({
    name: 'layerwell_http_requests_total',
    help: 'Answers given to clients, by where they came from.',
    labels: ['kind', 'method', 'code', 'cache', 'upstream'],
    registry,
  });
  const responseBytes = new Tally({
    name: 'layerwell_http_response_bytes_total',
    help: 'Content sent to clients.',
    labels: ['kind', 'cache', 'upstream'],
    registry,
  });
  const clientAborts = new Tally({
    name: 'layerwell_http_client_aborts_total',
    help: 'Answers cut before their end, by the client or because of a failure.',
    labels: ['kind'],
    registry,
  });
  const rejections = new Counter({
    name: 'layerwell_http_rejected_total',
    help: 'Requests and connections refused because they were too many, by what there was too much of.',
    labelNames: ['reason'],
    registers,
  });
  const requestSeconds = new Histogram({
    name: 'layerwell_http_request_duration_seconds',
    help: 'From the request to the end of its answer.',
    labelNames: ['kind', 'cache'],
    buckets: secondsOfAnswers,
    registers,
  });
  const firstByteSeconds = new Histogram({
    name: 'layerwell_http_time_to_first_byte_seconds',
    help: 'From the request to the headers of its answer.',
    labelNames: ['kind', 'cache'],
    buckets: secondsOfAnswers,
    registers,
  });
  const upstreamRequests = new Counter({
    name: 'layerwell_upstream_requests_total',
    help: 'Requests to upstreams; code is the HTTP status, or why there was none.',
    labelNames: ['upstream', 'kind', 'method', 'code'],
    registers,
  });
  const upstreamSeconds = new Histogram({
    name: 'layerwell_upstream_request_duration_seconds',
    help: 'From a request to an upstream to the headers of its answer.',
    labelNames: ['upstream', 'kind'],
    buckets: secondsOfAnswers,
    registers,
  });
  const rateLimit = new Gauge({
    name: 'layerwell_upstream_ratelimit_limit',
    help: 'What an upstream allows an account of the mirror in one window.',
    labelNames: ['upstream', 'account'],
    registers,
  });
  const rateLimitRemaining = new Gauge({
    name: 'layerwell_upstream_ratelimit_remaining',
    help: 'What was left of it when the upstream last said so.',
    labelNames: ['upstream', 'account'],
    registers,
  });
  const rateLimitWindow = new Gauge({
    name: 'layerwell_upstream_ratelimit_window_seconds',
    help: 'The length of that window.',
    labelNames: ['upstream', 'account'],
    registers,
  });
  const circuits = new Gauge({
    name: 'layerwell_upstream_circuit_state',
    help: '1 for the state an upstream endpoint is in: open, it failed and is not asked; half-open, one request tries.',
    labelNames: ['upstream', 'endpoint', 'state'],
    registers,
  });
  const upstreamBytes = new Tally({
    name: 'layerwell_upstream_response_bytes_total',
    help: 'Content received from upstreams.',
    labels: ['upstream', 'kind'],
    registry,
  });
  const downloadsInFlight = new Gauge({
    name: 'layerwell_cache_fills_in_flight',
    help: 'Blob downloads that run.',
    registers,
  });
  const downloads = new Counter({
    name: 'layerwell_cache_fills_total',
    help: 'Blob downloads that ended, by how.',
    labelNames: ['upstream', 'result'],
    registers,
  });
  const downloadSeconds = new Histogram({
    name: 'layerwell_cache_fill_duration_seconds',
    help: 'How long blob downloads took.',
    buckets: secondsOfAnswers,
    registers,
  });
  const collapsed = new Counter({
    name: 'layerwell_cache_collapsed_requests_total',
    help: 'Requests that shared the upstream request of another.',
    labelNames: ['kind'],
    registers,
  });
  const revalidations = new Counter({
    name: 'layerwell_cache_revalidations_total',
    help: 'Tags looked up again after their lifetime.',
    labelNames: ['upstream', 'result'],
    registers,
  });
  const stale = new Counter({
    name: 'layerwell_stale_served_total',
    help: 'Answers from the cache because the upstream gave none, by why.',
    labelNames: ['upstream', 'reason'],
    registers,
  });
  const admittedBytes = new Counter({
    name: 'layerwell_cache_admitted_bytes_total',
    help: 'Content that was stored.',
    labelNames: ['kind'],
    registers,
  });
  const evictions = new Counter({
    name: 'layerwell_cache_evictions_total',
    help: 'Content that was removed, by why.',
    labelNames: ['reason'],
    registers,
  });
  const evictedBytes = new Counter({
    name: 'layerwell_cache_evicted_bytes_total',
    help: 'Bytes that were removed, by why.',
    labelNames: ['reason'],
    registers,
  });
  const corruptions = new Counter({
    name: 'layerwell_cache_corruptions_total',
    help: 'Stored files whose size or bytes were not what their name promises, by who found them.',
    labelNames: ['source'],
    registers,
  });
  const scrubbedBytes = new Counter({
    name: 'layerwell_scrub_bytes_total',
    help: 'Stored content that was read once more and verified.',
    registers,
  });
  const lastScrub = new Gauge({
    name: 'layerwell_scrub_last_completed_timestamp_seconds',
    help: 'When everything stored had last been verified.',
    registers,
  });
  const troubles = new Counter({
    name: 'layerwell_internal_errors_total',
    help: 'Failures inside the mirror that no client hears of, by part.',
    labelNames: ['part'],
    registers,
  });
  new Gauge({
    name: 'layerwell_cache_objects',
    help: 'Stored content.',
    labelNames: ['kind'],
    registers,
    async collect() {
      const { manifests, blobs } = await deps.totals();
      this.set({ kind: 'manifest' }, manifests);
      this.set({ kind: 'blob' }, blobs);
    },
  });
  new Gauge({
    name: 'layerwell_cache_bytes',
    help: 'Stored content, in bytes.',
    registers,
    async collect() {
      this.set((await deps.totals()).bytes);
    },
  });
  new Gauge({
    name: 'layerwell_storage_pending_bytes',
    help: 'Bytes that are arriving or were set aside.',
    registers,
    collect() {
      this.set(deps.pendingBytes());
    },
  });
  new Gauge({
    name: 'layerwell_cache_capacity_bytes',
    help: 'What the store may take: storage.maxSize.',
    registers,
  }).set(deps.maxBytes);
  new Gauge({
    name: 'layerwell_storage_free_bytes',
    help: 'Free bytes of the disk the store is on.',
    registers,
    async collect() {
      this.set(await deps.freeBytes().catch(() => Number.NaN)); // A disk that cannot tell hides no other metric.
    },
  });

  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    answered: ({ kind, method, status, cache, upstream, bytes, durationMs, firstByteMs, aborted }) => {
      requests.add(1, kind, knownMethod(method), String(status), cache, upstream);
      if (bytes > 0) responseBytes.add(bytes, kind, cache, upstream);
      if (aborted) clientAborts.add(1, kind);
      const labels = { kind, cache };
      requestSeconds.observe(labels, durationMs / 1000);
      firstByteSeconds.observe(labels, firstByteMs / 1000);
    },
    rejected: ({ reason }) => rejections.inc({ reason }),
    upstreamAnswered: (event) => {
      const { upstream, kind, method, outcome, durationMs } = event;
      deps.onUpstreamAnswered(event);
      upstreamRequests.inc({ upstream, kind, method, code: String(outcome) });
      upstreamSeconds.observe({ upstream, kind }, durationMs / 1000);
    },
    rateLimitSeen: (event) => {
      const { upstream, account, limit, remaining, windowSeconds } = event;
      rateLimit.set({ upstream, account }, limit);
      rateLimitRemaining.set({ upstream, account }, remaining);
      if (windowSeconds !== undefined) rateLimitWindow.set({ upstream, account }, windowSeconds);
      deps.onRateLimitSeen(event);
    },
    circuitChanged: ({ upstream, endpoint, state }) => {
      for (const other of ['closed', 'open', 'half-open']) circuits.set({ upstream, endpoint, state: other }, 0);
      circuits.set({ upstream, endpoint, state }, 1);
      deps.onCircuitChanged({ upstream, endpoint, state });
    },
    upstreamBytes: ({ upstream, kind, bytes }) => upstreamBytes.add(bytes, upstream, kind),
    downloadStarted: () => downloadsInFlight.inc(),
    downloadEnded: (event) => {
      downloadsInFlight.dec();
      downloads.inc({ upstream: event.upstream, result: event.result });
      downloadSeconds.observe(event.durationMs / 1000);
      if (event.result !== 'ok') deps.onDownloadFailed(event);
    },
    collapsed: ({ kind }) => collapsed.inc({ kind }),
    tagRevalidated: ({ upstream, result }) => revalidations.inc({ upstream, result }),
    servedStale: ({ upstream, reason }) => stale.inc({ upstream, reason }),
    contentStored: ({ kind, bytes }) => admittedBytes.inc({ kind }, bytes),
    evicted: ({ reason, bytes }) => {
      evictions.inc({ reason });
      evictedBytes.inc({ reason }, bytes);
    },
    corruptionFound: ({ source }) => corruptions.inc({ source }),
    scrubbed: ({ bytes }) => {
      scrubbedBytes.inc(bytes);
      lastScrub.setToCurrentTime();
    },
    trouble: (event) => {
      troubles.inc({ part: event.part });
      deps.onTrouble(event);
    },
  };
}

/** Clients choose the method too. */
function knownMethod(method: string): string {
  return ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].includes(method) ? method : 'other';
}
