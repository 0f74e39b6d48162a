import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { DiskOperation, IndexOperation } from '../mirror/ports/observer.ts';
import { Answers, OperationDurations, secondsOfBuckets } from './answers.ts';

/** Of disks and SQLite: few, so that a scrape stays small. */
const secondsOfStore = [0.0001, 0.001, 0.01, 0.1, 1];

/** Makes metrics of one registry, each by its name without the prefix, its help text and its labels. */
export function makerFor(registry: Registry) {
  const registers = [registry];
  const named = (name: string) => `layerwell_${name}`;
  return {
    counter: <Label extends string>(name: string, help: string, labels: readonly Label[] = []) =>
      new Counter({ name: named(name), help, labelNames: [...labels], registers }),
    gauge: <Label extends string>(name: string, help: string, labels: readonly Label[] = []) =>
      new Gauge({ name: named(name), help, labelNames: [...labels], registers }),
    seconds: <Label extends string>(
      name: string,
      help: string,
      labels: readonly Label[] = [],
      buckets: readonly number[] = secondsOfBuckets,
    ) => new Histogram({ name: named(name), help, labelNames: [...labels], buckets: [...buckets], registers }),
    /** A gauge whose series are read at each scrape; the function calls `set` for each. */
    readouts: <Label extends string>(
      name: string,
      help: string,
      labels: readonly Label[],
      read: (set: (labels: Readonly<Record<Label, string>>, value: number) => void) => void | Promise<void>,
    ) =>
      new Gauge({
        name: named(name),
        help,
        labelNames: [...labels],
        registers,
        async collect() {
          this.reset();
          await read((of, value) => this.set({ ...of }, value));
        },
      }),
    /** A histogram with the label `operation`, for what happens often: see {@link OperationDurations}. */
    operations: <Operation extends string>(name: string, help: string, operations: readonly Operation[]) =>
      new OperationDurations(operations, { name: named(name), help, bounds: secondsOfStore, registry }),
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
    ...downloadInstruments(make),
    ...storeInstruments(make),
    ...operationInstruments(make),
    ...siblingInstruments(make),
    ...clusterInstruments(make),
    ...configInstruments(make),
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

/** The configuration that the process started with counts as a success. */
function configInstruments(make: Maker) {
  const lastReload = make.gauge(
    'config_last_reload_successful',
    '1 if the configuration file was in use after its last change; 0 if it was refused and the old one stays in use.',
  );
  const lastGoodReload = make.gauge(
    'config_last_reload_success_timestamp_seconds',
    'When the configuration in use was read.',
  );
  lastReload.set(1);
  lastGoodReload.setToCurrentTime();
  return { lastReload, lastGoodReload };
}

function clientInstruments(make: Maker) {
  return {
    rejections: make.counter(
      'http_rejected_total',
      'Requests and connections rejected, by the limit that was reached: `requests`, `connections`, or `upstream`, where too many requests wait for one upstream or for its slow bodies; or for what the client does: `headers`, too many; `malformed`, broken HTTP; `tls`, its handshake fails, for example as it does not trust the certificate; `slow_client`, it sends its handshake or headers or reads its answer too slowly.',
      ['reason'],
    ),
    managementRejections: make.counter(
      'management_rejected_total',
      'Requests and connections that the management listener rejects, by reason: as `layerwell_http_rejected_total`.',
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

function downloadInstruments(make: Maker) {
  const downloadsInFlight = new Map<string, number>();
  make.readouts('cache_fills_in_flight', 'Blob downloads in progress; absent without any.', ['upstream'], (set) =>
    downloadsInFlight.forEach((downloads, upstream) => downloads > 0 && set({ upstream }, downloads)),
  );
  return {
    /** By upstream. */
    downloadsInFlight,
    downloadsWaiting: make.gauge(
      'cache_fills_waiting',
      'Blob downloads that wait for a slot; see `download.maxConcurrent`.',
      ['upstream'],
    ),
    downloads: make.counter('cache_fills_total', 'Finished blob downloads, by result.', ['upstream', 'result']),
    downloadsByKind: make.counter(
      'cache_fills_by_kind_total',
      'Finished downloads of blobs and manifests, by result, over all upstreams. Other answers than a manifest, such as 404, are none.',
      ['kind', 'result'],
    ),
    downloadSeconds: make.seconds('cache_fill_duration_seconds', 'Duration of blob downloads.'),
  };
}

function storeInstruments(make: Maker) {
  return {
    admittedObjects: make.counter('cache_admitted_objects_total', 'Blobs and manifests stored.', ['kind']),
    admittedBytes: make.counter('cache_admitted_bytes_total', 'Bytes of content stored.', ['kind']),
    evictions: make.counter('cache_evictions_total', 'Blobs and manifests removed, by reason.', ['reason']),
    evictedBytes: make.counter('cache_evicted_bytes_total', 'Bytes removed, by reason.', ['reason']),
    corruptions: make.counter(
      'cache_corruptions_total',
      'Stored files whose size or content did not match their digest, by the check that found them.',
      ['source'],
    ),
    rebuilds: make.counter('index_rebuilds_total', 'How often the index was rebuilt from the store.'),
    integrityChecks: make.counter(
      'cache_integrity_checks_total',
      'Content that was compared with its digest, by where: `download`, `read` (only those that fail) or `scrub`.',
      ['source', 'result'],
    ),
    scrubbedBytes: make.counter('scrub_bytes_total', 'Bytes of stored content re-verified.'),
  };
}

const diskOperations: readonly DiskOperation[] = ['open', 'read', 'write', 'sync', 'change', 'status'];
const indexOperations: readonly IndexOperation[] = ['borrow', 'find', 'list', 'evict', 'write'];

function operationInstruments(make: Maker) {
  return {
    diskTimes: make.operations(
      'storage_operation_duration_seconds',
      'Time that a call of the local disk takes, the wait for a thread included. `change`: a file or folder is made, renamed or removed.',
      diskOperations,
    ),
    diskErrors: make.counter(
      'storage_errors_total',
      'Calls of the local disk that failed, by reason: `full` (space, inodes or a quota), `readonly`, `denied`, `descriptors` (none is free), `io` or `other`.',
      ['reason'],
    ),
    indexTimes: make.operations(
      'index_operation_duration_seconds',
      'Time that a query of the index in SQLite takes; `borrow`: for a client; `write`: a transaction of buffered writes.',
      indexOperations,
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
