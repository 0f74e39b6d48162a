import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { Answers, secondsOfBuckets } from './answers.ts';

/** Makes metrics of one registry, each by its name without the prefix, its help text and its labels. */
export function makerFor(registry: Registry) {
  const registers = [registry];
  const named = (name: string) => `layerwell_${name}`;
  return {
    counter: <Label extends string>(name: string, help: string, labels: readonly Label[] = []) =>
      new Counter({ name: named(name), help, labelNames: [...labels], registers }),
    gauge: <Label extends string>(name: string, help: string, labels: readonly Label[] = []) =>
      new Gauge({ name: named(name), help, labelNames: [...labels], registers }),
    seconds: <Label extends string>(name: string, help: string, labels: readonly Label[] = []) =>
      new Histogram({ name: named(name), help, labelNames: [...labels], buckets: [...secondsOfBuckets], registers }),
    /** Read at each scrape. */
    readout: (name: string, help: string, read: () => number | Promise<number>) =>
      new Gauge({
        name: named(name),
        help,
        registers,
        async collect() {
          this.set(await read());
        },
      }),
    /** Likewise, for a value that only grows. */
    readTotal: (name: string, help: string, read: () => number) =>
      new Counter({
        name: named(name),
        help,
        registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      }),
  };
}

export type Maker = ReturnType<typeof makerFor>;

export type Instruments = ReturnType<typeof createInstruments>;

/**
 * Every metric, on one page. Labels come from the configuration or from fixed lists only: never a repository, a tag or an
 * address, whose number clients choose.
 */
export function createInstruments(registry: Registry) {
  const make = makerFor(registry);
  return {
    answers: new Answers(registry),
    ...clientInstruments(make),
    ...upstreamInstruments(make),
    ...downloadInstruments(make),
    ...storeInstruments(make),
    ...siblingInstruments(make),
    ...clusterInstruments(make),
    unhandledRejections: make.counter(
      'unhandled_rejections_total',
      'Unhandled promise rejections. Each is a bug; the log has the stack trace.',
    ),
    internalErrors: make.counter(
      'internal_errors_total',
      'Internal failures that are not reported to a client, by part.',
      ['part'],
    ),
  };
}

function clientInstruments(make: Maker) {
  return {
    rejections: make.counter(
      'http_rejected_total',
      'Requests and connections rejected because a limit was reached, by limit; `upstream`: too many requests wait for one upstream, or for its slow bodies.',
      ['reason'],
    ),
    collapsed: make.counter(
      'cache_collapsed_requests_total',
      'Requests that shared an upstream request with another.',
      ['kind'],
    ),
    stale: make.counter(
      'stale_served_total',
      'Stale responses served because the upstream gave no answer, by reason.',
      ['upstream', 'reason'],
    ),
  };
}

function upstreamInstruments(make: Maker) {
  return {
    upstreamRequests: make.counter(
      'upstream_requests_total',
      'Requests to upstreams; `code` is the HTTP status, or the reason there was none.',
      ['upstream', 'kind', 'method', 'code'],
    ),
    upstreamSeconds: make.seconds(
      'upstream_request_duration_seconds',
      'Time from the request to an upstream to its response headers.',
      ['upstream', 'kind'],
    ),
    rateLimit: make.gauge('upstream_ratelimit_limit', 'Pulls that an upstream allows an account in one window.', [
      'upstream',
      'account',
    ]),
    rateLimitRemaining: make.gauge(
      'upstream_ratelimit_remaining',
      'Pulls left in the window, as last reported by the upstream.',
      ['upstream', 'account'],
    ),
    rateLimitWindow: make.gauge('upstream_ratelimit_window_seconds', 'Length of the window.', ['upstream', 'account']),
    circuits: make.gauge(
      'upstream_circuit_state',
      '1 for the circuit breaker state of an upstream endpoint: `open`, requests fail at once; `half-open`, one ping of `/v2/` is in progress.',
      ['upstream', 'endpoint', 'state'],
    ),
    upstreamBytes: make.counter('upstream_response_bytes_total', 'Bytes of content received from upstreams.', [
      'upstream',
      'kind',
    ]),
    blobSourceBytes: make.counter(
      'blob_source_bytes_total',
      'Bytes of blobs received, by where they came from: upstream, sibling or shared.',
      ['upstream', 'source'],
    ),
    revalidations: make.counter('cache_revalidations_total', 'Tags revalidated after their lifetime.', [
      'upstream',
      'result',
    ]),
  };
}

function downloadInstruments(make: Maker) {
  return {
    downloadsInFlight: make.gauge('cache_fills_in_flight', 'Blob downloads in progress.', ['upstream']),
    downloadsWaiting: make.gauge(
      'cache_fills_waiting',
      'Blob downloads that wait for a slot; see `download.maxConcurrent`.',
      ['upstream'],
    ),
    downloads: make.counter('cache_fills_total', 'Finished blob downloads, by result.', ['upstream', 'result']),
    downloadSeconds: make.seconds('cache_fill_duration_seconds', 'Duration of blob downloads.'),
  };
}

function storeInstruments(make: Maker) {
  return {
    admittedBytes: make.counter('cache_admitted_bytes_total', 'Bytes of content stored.', ['kind']),
    evictions: make.counter('cache_evictions_total', 'Blobs and manifests removed, by reason.', ['reason']),
    evictedBytes: make.counter('cache_evicted_bytes_total', 'Bytes removed, by reason.', ['reason']),
    corruptions: make.counter(
      'cache_corruptions_total',
      'Stored files whose size or content did not match their digest, by the check that found them.',
      ['source'],
    ),
    scrubbedBytes: make.counter('scrub_bytes_total', 'Bytes of stored content re-verified.'),
    lastScrub: make.gauge(
      'scrub_last_completed_timestamp_seconds',
      'When the last full verification of the store ended.',
    ),
  };
}

function siblingInstruments(make: Maker) {
  return {
    siblingsAsked: make.counter(
      'sibling_requests_total',
      'Requests to other replicas, by result: `ok`, `missing`, `aborted`, or the reason that there was no usable answer; `refused`: the other replica does not accept the secret.',
      ['kind', 'result'],
    ),
    siblingsServed: make.counter(
      'sibling_requests_served_total',
      'Requests of other replicas, by result; `refused`: with a wrong secret or none; `rejected`: above a limit; `cut`: the answer broke off.',
      ['kind', 'result'],
    ),
  };
}

function clusterInstruments(make: Maker) {
  return {
    redisUp: make.gauge(
      'redis_up',
      '1 while Redis answers, by connection (`index`, `cluster`). Nothing is refused while it does not.',
      ['connection'],
    ),
    redisSeconds: make.seconds('redis_command_duration_seconds', 'Time from a command to the reply of Redis.', [
      'connection',
      'command',
    ]),
    redisErrors: make.counter(
      'redis_errors_total',
      'Commands without a usable reply, by reason; `down`: not sent, because Redis is down; `full`: Redis takes no writes.',
      ['connection', 'reason'],
    ),
    replicas: make.gauge('cluster_replicas', 'Replicas that are known, this one included.'),
    leases: make.counter(
      'cluster_leases_total',
      'Leases of content that is downloaded and of tags that are looked up: `taken` by this replica, `waited` for, `taken_over` from a replica that failed, `lost` to another.',
      ['kind', 'event'],
    ),
  };
}

/** The values that are read from the parts at each scrape. */
export interface Readings {
  readonly totals: () => Promise<{ readonly bytes: number; readonly manifests: number; readonly blobs: number }>;
  readonly freeBytes: () => Promise<number>;
  readonly pendingBytes: () => number;
  readonly maxBytes: number;
  readonly maxFiles: number;
  /** The disk use that the bounds apply to. */
  readonly use: () => Promise<{ readonly bytes: number; readonly files: number }>;
  readonly droppedLogLines: () => number;
  readonly uploadsQueued: () => number;
  /** What the shared bucket held at its last sweep by this replica. */
  readonly swept: () => { readonly bytes: number; readonly objects: number } | undefined;
  readonly memory: { readonly maxBytes: number; readonly reservedBytes: number; readonly waiting: number };
}

export function createReadouts(registry: Registry, readings: Readings): void {
  const { readout, readTotal } = makerFor(registry);
  const { totals, freeBytes, pendingBytes, maxBytes, maxFiles, use, memory } = readings;
  new Gauge({
    name: 'layerwell_cache_objects',
    help: 'Stored blobs and manifests.',
    labelNames: ['kind'],
    registers: [registry],
    async collect() {
      const { manifests, blobs } = await totals();
      this.set({ kind: 'manifest' }, manifests);
      this.set({ kind: 'blob' }, blobs);
    },
  });
  readTotal(
    'log_lines_dropped_total',
    'Log lines dropped because the reader of stdout does not keep up.',
    readings.droppedLogLines,
  );
  readout('shared_storage_uploads_queued', 'Uploads to the shared bucket that wait or run.', readings.uploadsQueued);
  const swept = (which: 'bytes' | 'objects') => readings.swept()?.[which] ?? Number.NaN;
  readout(
    'shared_storage_bytes',
    'Length of the content in the shared bucket, after its last sweep by this replica.',
    () => swept('bytes'),
  );
  readout('shared_storage_objects', 'Blobs and manifests in the shared bucket, likewise.', () => swept('objects'));
  readout('memory_budget_bytes', 'Memory budget for data in flight: `download.bufferBudget`.', () => memory.maxBytes);
  readout('memory_reserved_bytes', 'Reserved bytes of the memory budget.', () => memory.reservedBytes);
  readout('memory_waiting', 'Requests waiting for memory.', () => memory.waiting);
  readout('cache_bytes', 'Total length of stored blobs and manifests.', async () => (await totals()).bytes);
  readout('storage_pending_bytes', 'Bytes of running and partial downloads, and of the quarantine.', pendingBytes);
  readout(
    'storage_used_bytes',
    'Disk use of the store in whole blocks: content, records, downloads, quarantine and index.',
    async () => (await use()).bytes,
  );
  readout('cache_capacity_bytes', 'Maximum disk use of the store: `storage.maxSize`.', () => maxBytes);
  readout('storage_files', 'Files and folders in the store.', async () => (await use()).files);
  readout('storage_files_capacity', 'Maximum files and folders in the store: `storage.maxFiles`.', () => maxFiles);
  // A disk that gives no answer must not fail the whole scrape.
  readout('storage_free_bytes', 'Free bytes on the disk of the store.', () => freeBytes().catch(() => Number.NaN));
}
