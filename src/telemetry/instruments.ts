import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { Answers } from './answers.ts';
import { secondsOfBuckets } from './buckets.ts';
import { Tally } from './tally.ts';

/** Makes metrics of one registry, each by its name without the prefix, what it says, and its labels. */
function makerFor(registry: Registry) {
  const registers = [registry];
  const named = (name: string) => `layerwell_${name}`;
  return {
    tally: <Label extends string>(name: string, help: string, labels: readonly Label[]) =>
      new Tally({ name: named(name), help, labels, registry }),
    counter: <Label extends string>(name: string, help: string, labels: readonly Label[] = []) =>
      new Counter({ name: named(name), help, labelNames: [...labels], registers }),
    gauge: <Label extends string>(name: string, help: string, labels: readonly Label[] = []) =>
      new Gauge({ name: named(name), help, labelNames: [...labels], registers }),
    seconds: <Label extends string>(name: string, help: string, labels: readonly Label[] = []) =>
      new Histogram({ name: named(name), help, labelNames: [...labels], buckets: [...secondsOfBuckets], registers }),
    /** Read when somebody scrapes. */
    readout: (name: string, help: string, read: () => number | Promise<number>) =>
      new Gauge({
        name: named(name),
        help,
        registers,
        async collect() {
          this.set(await read());
        },
      }),
    /** The same for a value that only grows. */
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

/**
 * Every metric there is, on one page. Labels come from the configuration or from fixed lists only: never a repository, a tag or an
 * address, whose number clients choose.
 */
export function createInstruments(registry: Registry) {
  const make = makerFor(registry);
  return {
    // What clients asked and got.
    answers: new Answers(registry),
    rejections: make.counter(
      'http_rejected_total',
      'Requests and connections that were refused because there were too many, by which limit was reached; upstream: requests that wait for one upstream.',
      ['reason'],
    ),

    // What upstreams were asked and answered.
    upstreamRequests: make.counter(
      'upstream_requests_total',
      'Requests to upstreams; code is the HTTP status, or why there was none.',
      ['upstream', 'kind', 'method', 'code'],
    ),
    upstreamSeconds: make.seconds(
      'upstream_request_duration_seconds',
      'From a request to an upstream to the headers of its answer.',
      ['upstream', 'kind'],
    ),
    rateLimit: make.gauge(
      'upstream_ratelimit_limit',
      'What an upstream allows an account of the mirror in one window.',
      ['upstream', 'account'],
    ),
    rateLimitRemaining: make.gauge(
      'upstream_ratelimit_remaining',
      'What was left of it when the upstream last said so.',
      ['upstream', 'account'],
    ),
    rateLimitWindow: make.gauge('upstream_ratelimit_window_seconds', 'The length of that window.', [
      'upstream',
      'account',
    ]),
    circuits: make.gauge(
      'upstream_circuit_state',
      '1 for the state an upstream endpoint is in: open, it failed and is not asked; half-open, its /v2/ is asked.',
      ['upstream', 'endpoint', 'state'],
    ),
    upstreamBytes: make.tally('upstream_response_bytes_total', 'Content received from upstreams.', [
      'upstream',
      'kind',
    ]),

    // What is fetched, kept and removed.
    downloadsInFlight: make.gauge('cache_fills_in_flight', 'Blob downloads that run.', ['upstream']),
    downloadsWaiting: make.gauge(
      'cache_fills_waiting',
      'Blob downloads that wait for a place; see download.maxConcurrent.',
      ['upstream'],
    ),
    downloads: make.counter('cache_fills_total', 'Blob downloads that ended, by how.', ['upstream', 'result']),
    downloadSeconds: make.seconds('cache_fill_duration_seconds', 'How long blob downloads took.'),
    collapsed: make.counter('cache_collapsed_requests_total', 'Requests that shared the upstream request of another.', [
      'kind',
    ]),
    revalidations: make.counter('cache_revalidations_total', 'Tags looked up again after their lifetime.', [
      'upstream',
      'result',
    ]),
    stale: make.counter('stale_served_total', 'Answers from the cache because the upstream gave none, by why.', [
      'upstream',
      'reason',
    ]),
    admittedBytes: make.counter('cache_admitted_bytes_total', 'Content that was stored.', ['kind']),
    evictions: make.counter('cache_evictions_total', 'Content that was removed, by why.', ['reason']),
    evictedBytes: make.counter('cache_evicted_bytes_total', 'Bytes that were removed, by why.', ['reason']),
    corruptions: make.counter(
      'cache_corruptions_total',
      'Stored files whose size or bytes were not what their name promises, by who found them.',
      ['source'],
    ),
    scrubbedBytes: make.counter('scrub_bytes_total', 'Stored content that was read once more and verified.'),
    lastScrub: make.gauge('scrub_last_completed_timestamp_seconds', 'When everything stored had last been verified.'),
    unhandledRejections: make.counter(
      'unhandled_rejections_total',
      'Failures that no code handled. Each is a bug; the log has its stack.',
    ),
    troubles: make.counter(
      'internal_errors_total',
      'Failures inside the mirror that are not reported to a client, by part.',
      ['part'],
    ),
  };
}

/** What is read off the parts when somebody scrapes. */
export interface Readings {
  readonly totals: () => Promise<{ readonly bytes: number; readonly manifests: number; readonly blobs: number }>;
  readonly freeBytes: () => Promise<number>;
  readonly pendingBytes: () => number;
  readonly maxBytes: number;
  readonly maxFiles: number;
  /** The disk use that the bounds apply to. */
  readonly use: () => Promise<{ readonly bytes: number; readonly files: number }>;
  readonly droppedLogLines: () => number;
  readonly memory: { readonly maxBytes: number; readonly reservedBytes: number; readonly waiting: number };
}

export function createReadouts(registry: Registry, readings: Readings): void {
  const { readout, readTotal } = makerFor(registry);
  const { totals, freeBytes, pendingBytes, maxBytes, maxFiles, use, memory } = readings;
  new Gauge({
    name: 'layerwell_cache_objects',
    help: 'Stored content.',
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
    'Log lines that were dropped because the reader of stdout does not keep up.',
    readings.droppedLogLines,
  );
  readout('memory_budget_bytes', 'The memory budget for bytes in flight.', () => memory.maxBytes);
  readout('memory_reserved_bytes', 'Bytes of the memory budget that are reserved.', () => memory.reservedBytes);
  readout('memory_waiting', 'Requests that wait for memory.', () => memory.waiting);
  readout('cache_bytes', 'Stored content, in bytes: the sum of its lengths.', async () => (await totals()).bytes);
  readout('storage_pending_bytes', 'Bytes of running and partial downloads, and of the quarantine.', pendingBytes);
  readout(
    'storage_used_bytes',
    'Disk use of the store in bytes, in whole blocks: content, records, downloads, quarantine and the index.',
    async () => (await use()).bytes,
  );
  readout('cache_capacity_bytes', 'The bound on the store in bytes: storage.maxSize.', () => maxBytes);
  readout('storage_files', 'Files and folders in the store.', async () => (await use()).files);
  readout('storage_files_capacity', 'The bound on files and folders in the store: storage.maxFiles.', () => maxFiles);
  // A disk that cannot tell hides no other metric.
  readout('storage_free_bytes', 'Free bytes of the disk the store is on.', () => freeBytes().catch(() => Number.NaN));
}
