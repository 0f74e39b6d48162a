import type { Registry } from 'prom-client';
import type { Totals } from '../mirror/ports/store-index.ts';
import { type Maker, makerFor } from './instruments.ts';

/** The values that are read from the parts at each scrape. */
export interface Readings extends StoreReadings, ServingReadings, EventReadings {
  readonly droppedLogLines: () => number;
  readonly memory: { readonly maxBytes: number; readonly reservedBytes: number; readonly waiting: number };
}

/** Of the events, and who is told of them. */
export interface EventReadings {
  readonly eventListeners: () => number;
  readonly eventQueueBytes: () => number;
  readonly webhooks: () => readonly { readonly webhook: string; readonly oldestAtMs: number | undefined }[];
}

/** Of the store and its index, and of the shared bucket. What is not known is NaN. */
export interface StoreReadings {
  readonly totals: () => Promise<Pick<Totals, 'bytes' | 'manifestBytes' | 'manifests' | 'blobs'>>;
  readonly freeBytes: () => Promise<number>;
  readonly diskBytes: () => Promise<number>;
  readonly pendingBytes: () => number;
  readonly quarantinedFiles: () => number;
  readonly maxBytes: number;
  readonly maxFiles: number;
  /** The disk use that the bounds apply to. */
  readonly use: () => Promise<{ readonly bytes: number; readonly files: number }>;
  /** When the content that would be evicted next was last used. */
  readonly oldestUseMs: () => Promise<number>;
  readonly isIndexComplete: () => boolean;
  readonly arePinsKnown: () => boolean;
  /** Infinity: never. */
  readonly scrubEveryMs: number;
  /** When the scrubber began its present or last round over this store, and when all of it was last verified, by any process. */
  readonly scrubTimes: () => { readonly startedAtMs?: number; readonly completedAtMs?: number };
  readonly uploadsQueued: () => number;
  /** What the shared bucket held at its last sweep by this replica. */
  readonly swept: () => { readonly bytes: number; readonly objects: number } | undefined;
}

/** Of what the mirror is doing now. */
export interface ServingReadings {
  readonly isDraining: () => boolean;
  readonly openConnections: () => number;
  /** Requests of clients that have no complete answer yet, and those of them without headers, by kind. */
  readonly requests: () => ReadonlyMap<string, { readonly running: number; readonly waiting: number }>;
  readonly upstreams: () => readonly UpstreamReading[];
  /** Every certificate that the mirror presents, by its use and the label of the upstream, or `none`. */
  readonly certificates: () => readonly CertificateReading[];
}

export interface UpstreamReading {
  /** Its label. */
  readonly upstream: string;
  /** Undefined before the first request. */
  readonly isUp: boolean | undefined;
  readonly lastSuccessAtMs: number | undefined;
  /** Requests that run or wait for a connection. */
  readonly running: number;
  /** Open connections, and requests that wait for one. */
  readonly connections: { readonly busy: number; readonly idle: number; readonly waiting: number };
  /** Requests of clients that wait for it. */
  readonly waiting: number;
}

export interface CertificateReading {
  readonly use: 'clients' | 'siblings' | 'upstream';
  readonly upstream: string;
  readonly endsAtMs: number;
}

export function createReadouts(registry: Registry, readings: Readings): void {
  const make = makerFor(registry);
  const { memory } = readings;
  contentReadouts(make, readings);
  diskReadouts(make, readings);
  bucketReadouts(make, readings);
  servingReadouts(make, readings);
  upstreamReadouts(make, readings);
  eventReadouts(make, readings);
  make.readTotal(
    'log_lines_dropped_total',
    'Log lines dropped because the reader of stdout does not keep up.',
    readings.droppedLogLines,
  );
  make.readout(
    'memory_budget_bytes',
    'Memory budget for data in flight: `download.bufferBudget`.',
    () => memory.maxBytes,
  );
  make.readout('memory_reserved_bytes', 'Reserved bytes of the memory budget.', () => memory.reservedBytes);
  make.readout('memory_waiting', 'Requests waiting for memory.', () => memory.waiting);
}

function contentReadouts({ readout, readouts }: Maker, readings: StoreReadings): void {
  const { totals } = readings;
  readouts('cache_objects', 'Stored blobs and manifests.', ['kind'], async (set) => {
    const { manifests, blobs } = await totals();
    set({ kind: 'manifest' }, manifests);
    set({ kind: 'blob' }, blobs);
  });
  readouts('cache_bytes', 'Total length of stored blobs and manifests.', ['kind'], async (set) => {
    const { bytes, manifestBytes } = await totals();
    set({ kind: 'manifest' }, manifestBytes);
    set({ kind: 'blob' }, bytes - manifestBytes);
  });
  readout(
    'cache_oldest_access_timestamp_seconds',
    'When the content was last used that would be evicted next; read once a minute. NaN if there is none.',
    async () => (await readings.oldestUseMs()) / 1000,
  );
  readout('cache_quarantined_objects', 'Damaged files kept in quarantine.', readings.quarantinedFiles);
  readout(
    'scrub_interval_seconds',
    'How often the whole store is verified: `storage.scrubEvery`; +Inf if never.',
    () => readings.scrubEveryMs / 1000,
  );
  const { scrubTimes } = readings;
  readout(
    'scrub_last_completed_timestamp_seconds',
    'When the last full verification of the store ended, also by an earlier process; NaN before the first.',
    () => (scrubTimes().completedAtMs ?? Number.NaN) / 1000,
  );
  readout(
    'scrub_round_started_timestamp_seconds',
    'When the verification of the store that runs, or the last one, began, also by an earlier process; NaN before the first.',
    () => (scrubTimes().startedAtMs ?? Number.NaN) / 1000,
  );
  readout('index_up', '1 while the index has everything the store has; 0 while it is rebuilt, or cannot be.', () =>
    Number(readings.isIndexComplete()),
  );
  readout(
    'pins_up',
    '1 while it is known what is pinned; 0 while the disk cannot read that: then nothing is evicted.',
    () => Number(readings.arePinsKnown()),
  );
}

function diskReadouts({ readout }: Maker, readings: StoreReadings): void {
  const { use, maxBytes, maxFiles } = readings;
  readout(
    'storage_pending_bytes',
    'Bytes of running and partial downloads, and of the quarantine.',
    readings.pendingBytes,
  );
  readout(
    'storage_used_bytes',
    'Disk use of the store in whole blocks: content, records, downloads, quarantine and index.',
    async () => (await use()).bytes,
  );
  readout('cache_capacity_bytes', 'Maximum disk use of the store: `storage.maxSize`.', () => maxBytes);
  readout('storage_files', 'Files and folders in the store.', async () => (await use()).files);
  readout('storage_files_capacity', 'Maximum files and folders in the store: `storage.maxFiles`.', () => maxFiles);
  // A disk that gives no answer must not fail the whole scrape.
  const orUnknown = (read: () => Promise<number>) => () => read().catch(() => Number.NaN);
  readout('storage_free_bytes', 'Free bytes on the disk of the store.', orUnknown(readings.freeBytes));
  readout('storage_size_bytes', 'Size of the disk of the store.', orUnknown(readings.diskBytes));
}

function bucketReadouts({ readout }: Maker, readings: StoreReadings): void {
  const swept = (which: 'bytes' | 'objects') => readings.swept()?.[which] ?? Number.NaN;
  readout('shared_storage_uploads_queued', 'Uploads to the shared bucket that wait or run.', readings.uploadsQueued);
  readout(
    'shared_storage_bytes',
    'Length of the content in the shared bucket, after its last sweep by this replica.',
    () => swept('bytes'),
  );
  readout('shared_storage_objects', 'Blobs and manifests in the shared bucket, likewise.', () => swept('objects'));
}

function servingReadouts({ readout, readouts }: Maker, readings: ServingReadings): void {
  readout('draining', '1 while the mirror drains before it stops.', () => Number(readings.isDraining()));
  readout('http_connections', 'Open connections of clients.', readings.openConnections);
  readouts(
    'http_requests_in_flight',
    'Requests of clients in progress; `other` until it is known what they ask for.',
    ['kind'],
    (set) => readings.requests().forEach(({ running }, kind) => set({ kind }, running)),
  );
  readouts(
    'http_requests_waiting',
    'Those of them that have no response headers yet: they wait for an upstream, the disk, memory or another request.',
    ['kind'],
    (set) => readings.requests().forEach(({ waiting }, kind) => set({ kind }, waiting)),
  );
  readouts(
    'tls_cert_expiry_timestamp_seconds',
    'When a certificate expires that the mirror presents: to clients, to siblings or to an upstream.',
    ['use', 'upstream'],
    (set) => readings.certificates().forEach(({ use, upstream, endsAtMs }) => set({ use, upstream }, endsAtMs / 1000)),
  );
}

function eventReadouts({ readout, readouts }: Maker, readings: EventReadings): void {
  readout('event_listeners', 'Listeners of `GET /api/v1/events`.', readings.eventListeners);
  readout('event_queue_bytes', 'Disk use of the events that are kept for webhooks.', readings.eventQueueBytes);
  readouts(
    'webhook_oldest_event_timestamp_seconds',
    'When the event happened that a webhook is to get next; absent when it has all.',
    ['webhook'],
    (set) => {
      for (const { webhook, oldestAtMs } of readings.webhooks())
        if (oldestAtMs !== undefined) set({ webhook }, oldestAtMs / 1_000);
    },
  );
}

function upstreamReadouts({ readouts }: Maker, { upstreams }: ServingReadings): void {
  const read = (name: string, help: string, valueOf: (reading: UpstreamReading) => number | undefined) =>
    readouts(name, help, ['upstream'], (set) => {
      for (const reading of upstreams()) {
        const value = valueOf(reading);
        if (value !== undefined) set({ upstream: reading.upstream }, value);
      }
    });
  read(
    'upstream_up',
    '1 if the last request to an upstream was answered, with any status; absent before the first.',
    ({ isUp }) => (isUp === undefined ? undefined : Number(isUp)),
  );
  read(
    'upstream_last_success_timestamp_seconds',
    'When an upstream last answered with a status below 500 other than 429; absent before.',
    ({ lastSuccessAtMs }) => lastSuccessAtMs && lastSuccessAtMs / 1000,
  );
  read(
    'upstream_requests_in_flight',
    'Requests to an upstream that run or wait for a connection; absent without any.',
    ({ running }) => running || undefined,
  );
  read(
    'upstream_requests_pending',
    'Those of them that wait for a connection; absent without any.',
    ({ connections }) => connections.waiting || undefined,
  );
  readouts(
    'upstream_connections',
    'Open connections to an upstream, by state: `busy` or `idle`; absent without any.',
    ['upstream', 'state'],
    (set) => {
      for (const { upstream, connections } of upstreams())
        for (const state of ['busy', 'idle'] as const)
          if (connections[state] > 0) set({ upstream, state }, connections[state]);
    },
  );
  read(
    'upstream_waiters',
    'Requests of clients that wait for the answer of an upstream, or for a body that it sends slowly. Beyond half of `clients.maxRequests` they get 503. Absent without any.',
    ({ waiting }) => waiting || undefined,
  );
}
