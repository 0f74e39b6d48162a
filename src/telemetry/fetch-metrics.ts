import type { Clock } from '../mirror/ports/clock.ts';
import type { Observer, StoreObserver } from '../mirror/ports/observer.ts';
import type { RateLimitReport } from '../mirror/ports/upstream.ts';
import type { Instruments, Maker } from './instruments.ts';
import type { Log } from './log.ts';

/** Few, because each upstream has all of them. */
const secondsOfUpstream = [0.1, 1, 10];
const secondsOfKind = [0.1, 0.5, 2.5, 10];
/** Over all upstreams. */
const blobSources = ['upstream', 'sibling', 'shared'];
const circuitStates = ['closed', 'open', 'half-open'];

type UpstreamEvents = Pick<
  Observer,
  | 'upstreamAnswered'
  | 'upstreamRetried'
  | 'upstreamFailed'
  | 'upstreamBytes'
  | 'blobBytes'
  | 'rateLimitSeen'
  | 'secretFetched'
  | 'circuitChanged'
  | 'tagRevalidated'
>;

/** An upstream of the configuration. */
export interface FollowedUpstream {
  /** Its label. */
  readonly name: string;
  /** Only an account can be refused. */
  readonly hasAccount: boolean;
}

export interface UpstreamMetrics extends UpstreamEvents {
  /**
   * Counters of these upstreams begin at 0, as far as an alert reads them or the hit ratio does: Prometheus sees no increase from nothing to
   * 1. The rest appears when it happens, so that a scrape stays small.
   */
  followUpstreams(upstreams: readonly FollowedUpstream[]): void;
  /** What is known of an upstream since the start of the process, by its label. */
  activityOf(upstream: string): UpstreamActivity;
  /** Of all upstreams since the start of the process, also those that a reload has removed. */
  upstreamTotals(): Pick<UpstreamActivity, 'requests' | 'bytes'>;
}

/** Maps are by endpoint (`registry`, `mirror`) or by account, as the metrics name them. */
export interface UpstreamActivity {
  readonly requests: number;
  /** Of content received. */
  readonly bytes: number;
  /** Of the endpoints whose circuit has been open. */
  readonly circuits: ReadonlyMap<string, CircuitState>;
  /** As last reported by the upstream. */
  readonly rateLimits: ReadonlyMap<string, RateLimitReport & { readonly atMs: number }>;
  readonly secretEndsAtMs: ReadonlyMap<string, number>;
  readonly lastFailure: { readonly reason: string; readonly atMs: number } | undefined;
}

type CircuitState = Parameters<Observer['circuitChanged']>[0]['state'];

/** What happens to one upstream. Endpoints and accounts come from the configuration, so the maps are small. */
class Activity implements UpstreamActivity {
  requests = 0;
  bytes = 0;
  readonly circuits = new Map<string, CircuitState>();
  readonly rateLimits = new Map<string, RateLimitReport & { readonly atMs: number }>();
  readonly secretEndsAtMs = new Map<string, number>();
  lastFailure: UpstreamActivity['lastFailure'];
}

/** Activities by label. */
class Activities {
  readonly #known = new Map<string, Activity>();

  /** A new one at its first use. */
  readonly of = (upstream: string): Activity => {
    const activity = this.#known.get(upstream) ?? new Activity();
    this.#known.set(upstream, activity);
    return activity;
  };

  totals(): ReturnType<UpstreamMetrics['upstreamTotals']> {
    const all = [...this.#known.values()];
    return {
      requests: all.reduce((sum, { requests }) => sum + requests, 0),
      bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }
}

export interface UpstreamMetricsDeps {
  readonly log: Pick<Log, 'logger'>;
  readonly clock: Pick<Clock, 'now'>;
}

/** Counts and logs what happens between the mirror and its upstreams. */
export function createUpstreamMetrics(make: Maker, { log, clock }: UpstreamMetricsDeps): UpstreamMetrics {
  const instruments = upstreamInstruments(make);
  const { requests, seconds, secondsByKind, throttled, retries, failures, circuits } = instruments;
  const activities = new Activities();
  for (const source of blobSources) instruments.blobSourceBytes.inc({ source }, 0);
  const activityOf = activities.of;
  return {
    activityOf,
    upstreamTotals: () => activities.totals(),
    followUpstreams: (upstreams) => upstreams.forEach((upstream) => begin(instruments, upstream)),
    upstreamAnswered: ({ upstream, kind, method, outcome, durationMs }) => {
      activityOf(upstream).requests += 1;
      requests.inc({ upstream, kind, method, code: String(outcome) });
      seconds.observe({ upstream }, durationMs / 1000);
      secondsByKind.observe({ kind }, durationMs / 1000);
      if (outcome === 429) throttled.inc({ upstream });
    },
    upstreamRetried: ({ upstream, reason }) => retries.inc({ upstream, reason }),
    upstreamFailed: ({ upstream, reason }) => {
      activityOf(upstream).lastFailure = { reason, atMs: clock.now() };
      failures.inc({ upstream, reason });
    },
    upstreamBytes: ({ upstream, kind, bytes }) => {
      activityOf(upstream).bytes += bytes;
      instruments.bytes.inc({ upstream, kind }, bytes);
    },
    blobBytes: ({ source, bytes }) => instruments.blobSourceBytes.inc({ source }, bytes),
    rateLimitSeen: (report) => {
      const { upstream, account, limit, remaining, windowSeconds, resetSeconds } = report;
      const atMs = clock.now();
      activityOf(upstream).rateLimits.set(account, { ...report, atMs });
      instruments.rateLimit.set({ upstream, account }, limit);
      instruments.rateLimitRemaining.set({ upstream, account }, remaining);
      if (windowSeconds !== undefined) instruments.rateLimitWindow.set({ upstream, account }, windowSeconds);
      if (resetSeconds !== undefined) instruments.rateLimitReset.set({ upstream, account }, atMs / 1000 + resetSeconds);
    },
    secretFetched: ({ upstream, account, endsAtMs }) => {
      activityOf(upstream).secretEndsAtMs.set(account, endsAtMs);
      instruments.secretEnds.set({ upstream, account }, endsAtMs / 1000);
    },
    circuitChanged: ({ upstream, endpoint, state }) => {
      activityOf(upstream).circuits.set(endpoint, state);
      for (const other of circuitStates) circuits.set({ upstream, endpoint, state: other }, 0);
      circuits.set({ upstream, endpoint, state }, 1);
      log.logger.warn({ upstream, endpoint, state }, 'upstream circuit');
    },
    tagRevalidated: ({ upstream, result }) => instruments.revalidations.inc({ upstream, result }),
  };
}

function begin(
  instruments: ReturnType<typeof upstreamInstruments>,
  { name: upstream, hasAccount }: FollowedUpstream,
): void {
  const { throttled, failures, bytes } = instruments;
  for (const kind of ['manifest', 'blob']) bytes.inc({ upstream, kind }, 0);
  throttled.inc({ upstream }, 0);
  if (hasAccount) failures.inc({ upstream, reason: 'refused' }, 0);
}

function upstreamInstruments(make: Maker) {
  return { ...requestInstruments(make), ...accountInstruments(make), ...contentInstruments(make) };
}

function requestInstruments(make: Maker) {
  return {
    requests: make.counter(
      'upstream_requests_total',
      'Requests to upstreams; `code` is the HTTP status, or the reason there was none.',
      ['upstream', 'kind', 'method', 'code'],
    ),
    seconds: make.seconds(
      'upstream_request_duration_seconds',
      'Time from the request to an upstream to its response headers.',
      ['upstream'],
      secondsOfUpstream,
    ),
    secondsByKind: make.seconds(
      'upstream_request_duration_by_kind_seconds',
      'Time from the request to an upstream to its response headers, over all upstreams.',
      ['kind'],
      secondsOfKind,
    ),
    throttled: make.counter('upstream_throttled_total', 'Answers with status 429 from upstreams.', ['upstream']),
    retries: make.counter(
      'upstream_retries_total',
      'Requests to upstreams that were repeated after a transient error, by the reason of the failure.',
      ['upstream', 'reason'],
    ),
    failures: make.counter(
      'upstream_failures_total',
      'Failures of an upstream to give a usable answer, after all retries, by reason; `refused`: it refused the account of the mirror.',
      ['upstream', 'reason'],
    ),
    circuits: make.gauge(
      'upstream_circuit_state',
      '1 for the circuit breaker state of an upstream endpoint: `open`, requests fail at once; `half-open`, one ping of `/v2/` is in progress.',
      ['upstream', 'endpoint', 'state'],
    ),
  };
}

function accountInstruments(make: Maker) {
  return {
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
    rateLimitReset: make.gauge(
      'upstream_ratelimit_reset_timestamp_seconds',
      'When the window ends; absent where the upstream does not say so: that of Docker Hub slides.',
      ['upstream', 'account'],
    ),
    secretEnds: make.gauge(
      'upstream_credentials_expiry_timestamp_seconds',
      'When the secret in use expires that was fetched for an account: from AWS, Google or a credential helper. It is renewed before.',
      ['upstream', 'account'],
    ),
  };
}

function contentInstruments(make: Maker) {
  return {
    bytes: make.counter('upstream_response_bytes_total', 'Bytes of content received from upstreams.', [
      'upstream',
      'kind',
    ]),
    blobSourceBytes: make.counter(
      'blob_source_bytes_total',
      'Bytes of blobs received, by where they came from: upstream, sibling or shared.',
      ['source'],
    ),
    revalidations: make.counter(
      'cache_revalidations_total',
      'Tags revalidated after their lifetime, by result: `not_modified`, `changed`, `gone`, `rate_limited` or `error`.',
      ['upstream', 'result'],
    ),
  };
}

function changeBy(change: number, counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + change);
}

/** Counts downloads, and logs those that fail. */
export function downloadEvents(
  { downloads, downloadsByKind, downloadSeconds, downloadsInFlight, downloadsWaiting, integrityChecks }: Instruments,
  { logger }: Pick<Log, 'logger'>,
): Pick<Observer, 'downloadStarted' | 'downloadsWaiting' | 'downloadEnded' | 'manifestDownloaded'> {
  return {
    manifestDownloaded: ({ result }) => downloadsByKind.inc({ kind: 'manifest', result }),
    downloadStarted: ({ upstream }) => changeBy(1, downloadsInFlight, upstream),
    downloadsWaiting: ({ upstream, waiting }) => downloadsWaiting.set({ upstream }, waiting),
    downloadEnded: ({ upstream, result, bytes, durationMs, cause }) => {
      changeBy(-1, downloadsInFlight, upstream);
      downloads.inc({ upstream, result });
      downloadsByKind.inc({ kind: 'blob', result });
      const checked = result === 'ok' ? 'ok' : result === 'digest_mismatch' ? 'corrupt' : undefined;
      if (checked) integrityChecks.inc({ source: 'download', result: checked });
      downloadSeconds.observe(durationMs / 1000);
      if (result !== 'ok') logger.warn({ upstream, result, bytes, err: cause }, 'download failed');
    },
  };
}

type StoreEvents = StoreObserver &
  Pick<Observer, 'contentStored' | 'evicted' | 'corruptionFound' | 'integrityChecked' | 'indexRebuilt'>;

/** Counts what enters and leaves the store, and what is checked there. */
export function storeEvents(instruments: Instruments): StoreEvents {
  const { diskTimes, diskErrors, indexTimes } = instruments;
  return {
    diskAnswered: (event) => {
      diskTimes.add(event);
      if (event.outcome !== 'ok') diskErrors.inc({ reason: event.outcome });
    },
    indexAnswered: indexTimes.add.bind(indexTimes), // Often: without a call between.
    contentStored: ({ kind, bytes }) => {
      instruments.admittedObjects.inc({ kind });
      instruments.admittedBytes.inc({ kind }, bytes);
    },
    evicted: ({ reason, bytes }) => {
      instruments.evictions.inc({ reason });
      instruments.evictedBytes.inc({ reason }, bytes);
    },
    corruptionFound: ({ source }) => {
      instruments.corruptions.inc({ source });
      if (source === 'read') instruments.integrityChecks.inc({ source, result: 'corrupt' });
    },
    integrityChecked: ({ isIntact, bytes }) => {
      instruments.integrityChecks.inc({ source: 'scrub', result: isIntact ? 'ok' : 'corrupt' });
      instruments.scrubbedBytes.inc(bytes);
    },
    indexRebuilt: () => instruments.rebuilds.inc(),
  };
}
