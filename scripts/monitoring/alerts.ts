/** Alerts for Prometheus. Each has a page in docs/runbooks. */
export interface Alert {
  readonly name: string;
  /** `critical`: clients are affected, or content is damaged. `warning`: will be, or less is saved. `info`: worth a look. */
  readonly severity: 'critical' | 'warning' | 'info';
  readonly expr: string;
  /** How long the expression must hold. */
  readonly for: string;
  readonly summary: string;
}

export interface AlertGroup {
  readonly name: string;
  readonly alerts: readonly Alert[];
}

/** The targets that are mirrors: metrics of the process and of Node have names that other programs use too. */
const ofMirrors = 'and on (job, instance) layerwell_build_info';
const instance = '{{ $labels.instance }}';
const upstream = '{{ $labels.upstream }}';
const percent = '{{ $value | humanizePercentage }}';

/** The share of requests that may fail: 99.9 % succeed. */
const errorBudget = 0.001;
const burns = (times: number, long: string, short: string) =>
  [long, short].map((window) => `layerwell:http_errors:ratio_rate${window} > ${times} * ${errorBudget}`).join(' and ');

const serving: readonly Alert[] = [
  {
    name: 'LayerwellDown',
    severity: 'critical',
    expr: 'up == 0 and on (job, instance) last_over_time(layerwell_build_info[1d]) or absent(layerwell_build_info)',
    for: '2m',
    summary: `The mirror ${instance} gives no metrics.`,
  },
  {
    name: 'LayerwellErrorBudgetBurnFast',
    severity: 'critical',
    expr: burns(14.4, '1h', '5m'),
    for: '2m',
    summary: `${percent} of the requests of clients fail: at this rate the error budget of a month is used up in two days.`,
  },
  {
    name: 'LayerwellErrorBudgetBurnSlow',
    severity: 'warning',
    expr: burns(6, '6h', '30m'),
    for: '15m',
    summary: `${percent} of the requests of clients fail: at this rate the error budget of a month is used up in five days.`,
  },
  {
    name: 'LayerwellOverload',
    severity: 'warning',
    expr: 'sum by (namespace, job, instance, reason) (rate(layerwell_http_rejected_total{reason=~"requests|connections|upstream"}[5m])) > 0',
    for: '5m',
    summary: `${instance} rejects requests: the limit of {{ $labels.reason }} is reached.`,
  },
  {
    name: 'LayerwellServingStale',
    severity: 'warning',
    expr: 'sum by (namespace, job, upstream, reason) (rate(layerwell_stale_served_total{reason!="gone"}[5m])) > 0',
    for: '10m',
    summary: `Tags of ${upstream} are served stale, because it gives no answer: {{ $labels.reason }}.`,
  },
  {
    name: 'LayerwellHitRatioLow',
    severity: 'info',
    expr: [
      'layerwell:hit_ratio:rate6h < 0.5',
      'and on (namespace, job) layerwell:http_content_requests:rate6h > 0.1',
    ].join(' '),
    for: '1h',
    summary: `Only ${percent} of the requests for content are answered from the cache.`,
  },
];

const upstreams: readonly Alert[] = [
  {
    name: 'LayerwellUpstreamDown',
    severity: 'warning',
    expr: 'layerwell_upstream_up == 0',
    for: '10m',
    summary: `${instance} does not reach ${upstream}.`,
  },
  {
    name: 'LayerwellUpstreamCircuitOpen',
    severity: 'warning',
    expr: 'max by (namespace, job, instance, upstream, endpoint) (layerwell_upstream_circuit_state{state=~"open|half-open"}) == 1',
    for: '5m',
    summary: `${instance} sends no requests to the {{ $labels.endpoint }} of ${upstream}, because it fails.`,
  },
  {
    name: 'LayerwellUpstreamAuthFailing',
    severity: 'warning',
    expr: 'sum by (namespace, job, upstream) (increase(layerwell_upstream_failures_total{reason="refused"}[10m])) > 0',
    for: '0m',
    summary: `${upstream} refuses the account of the mirror.`,
  },
  {
    name: 'LayerwellCredentialsExpired',
    severity: 'warning',
    expr: [
      'layerwell_upstream_credentials_expiry_timestamp_seconds < time()',
      'and on (job, instance, upstream)',
      'sum by (job, instance, upstream) (rate(layerwell_upstream_requests_total[5m])) > 0',
    ].join(' '),
    for: '5m',
    summary: `The secret of the account {{ $labels.account }} at ${upstream} has expired and is not renewed.`,
  },
  {
    name: 'LayerwellRateLimitLow',
    severity: 'warning',
    expr: 'layerwell:ratelimit_headroom:ratio < 0.1',
    for: '5m',
    summary: `The account {{ $labels.account }} at ${upstream} has ${percent} of its pulls left.`,
  },
  {
    name: 'LayerwellRateLimited',
    severity: 'warning',
    expr: 'sum by (namespace, job, upstream) (increase(layerwell_upstream_throttled_total[5m])) > 0',
    for: '5m',
    summary: `${upstream} answers 429: a rate limit is used up.`,
  },
  {
    name: 'LayerwellFillFailures',
    severity: 'warning',
    expr: [
      'sum by (namespace, job, upstream) (rate(layerwell_cache_fills_total{result!~"ok|aborted"}[15m]))',
      '/ sum by (namespace, job, upstream) (rate(layerwell_cache_fills_total[15m])) > 0.05',
    ].join(' '),
    for: '15m',
    summary: `${percent} of the blob downloads from ${upstream} fail.`,
  },
];

const store: readonly Alert[] = [
  {
    name: 'LayerwellCorruptionDetected',
    severity: 'critical',
    expr: 'sum by (namespace, job, instance, source) (increase(layerwell_cache_corruptions_total[1h])) > 0',
    for: '0m',
    summary: `${instance} has damaged files in its store (found by {{ $labels.source }}).`,
  },
  {
    name: 'LayerwellDigestMismatch',
    severity: 'warning',
    expr: 'sum by (namespace, job, upstream) (increase(layerwell_cache_fills_total{result="digest_mismatch"}[1h])) > 0',
    for: '0m',
    summary: `${upstream} sent bytes that do not match their digest.`,
  },
  {
    name: 'LayerwellDiskFillingUp',
    severity: 'warning',
    expr: [
      'predict_linear(layerwell_storage_free_bytes[6h], 4 * 3600) < 0',
      'and layerwell_storage_free_bytes < 0.2 * layerwell_storage_size_bytes',
    ].join(' '),
    for: '30m',
    summary: `The disk of ${instance} will be full within four hours.`,
  },
  {
    name: 'LayerwellDiskFull',
    severity: 'critical',
    expr: [
      'layerwell_storage_free_bytes < 0.01 * layerwell_storage_size_bytes',
      'or sum by (namespace, job, instance) (rate(layerwell_cache_fills_total{result="disk_error"}[5m])) > 0',
    ].join(' '),
    for: '5m',
    summary: `${instance} cannot store content: its disk is full or failing.`,
  },
  {
    name: 'LayerwellDiskFailing',
    severity: 'critical',
    expr: 'sum by (namespace, job, instance, reason) (increase(layerwell_storage_errors_total{reason=~"io|denied|other"}[15m])) > 0',
    for: '0m',
    summary: `Calls of the disk of ${instance} fail ({{ $labels.reason }}).`,
  },
  {
    name: 'LayerwellDiskSlow',
    severity: 'warning',
    expr: [
      '1 - sum by (namespace, job, instance) (rate(layerwell_storage_operation_duration_seconds_bucket{le="1"}[10m]))',
      '/ sum by (namespace, job, instance) (rate(layerwell_storage_operation_duration_seconds_count[10m])) > 0.01',
    ].join(' '),
    for: '15m',
    summary: `${percent} of the calls of the disk of ${instance} take longer than a second.`,
  },
  {
    name: 'LayerwellEvictionChurn',
    severity: 'warning',
    expr: 'layerwell:eviction_churn:rate1h > 0.8',
    for: '1h',
    summary: `${instance} evicts nearly as much as it stores (${percent}): the cache is too small.`,
  },
  {
    name: 'LayerwellIndexDown',
    severity: 'warning',
    expr: 'layerwell_index_up == 0',
    for: '30m',
    summary: `The index of ${instance} is not complete.`,
  },
  {
    name: 'LayerwellScrubStale',
    severity: 'warning',
    // Before the first round has ended: since it began. Both outlive the process. The interval is +Inf where nothing is verified.
    expr: [
      'time() - (layerwell_scrub_last_completed_timestamp_seconds > 0',
      'or layerwell_scrub_round_started_timestamp_seconds > 0)',
      '> clamp_min(2 * layerwell_scrub_interval_seconds, 30 * 86400)',
    ].join(' '),
    for: '1h',
    summary: `${instance} has not verified its whole store for {{ $value | humanizeDuration }}.`,
  },
];

const process: readonly Alert[] = [
  {
    name: 'LayerwellEventLoopLag',
    severity: 'warning',
    expr: `nodejs_eventloop_lag_p99_seconds > 0.2 ${ofMirrors}`,
    for: '10m',
    summary: `The event loop of ${instance} lags by {{ $value | humanizeDuration }}.`,
  },
  {
    name: 'LayerwellFdExhaustion',
    severity: 'warning',
    expr: `process_open_fds / process_max_fds > 0.8 ${ofMirrors}`,
    for: '5m',
    summary: `${instance} uses ${percent} of its file descriptors.`,
  },
  {
    name: 'LayerwellCertExpiry',
    severity: 'warning',
    expr: 'layerwell_tls_cert_expiry_timestamp_seconds - time() < 7 * 86400',
    for: '1h',
    summary: `A certificate of ${instance} ({{ $labels.use }}) expires in {{ $value | humanizeDuration }}.`,
  },
  {
    name: 'LayerwellConfigReloadFailed',
    severity: 'warning',
    expr: 'layerwell_config_last_reload_successful == 0',
    for: '5m',
    summary: `${instance} refused its changed configuration; the old one stays in use.`,
  },
  {
    name: 'LayerwellRedisDown',
    severity: 'warning',
    expr: 'layerwell_redis_up == 0',
    for: '5m',
    summary: `${instance} does not reach Redis ({{ $labels.connection }}).`,
  },
  {
    name: 'LayerwellSharedStorageDown',
    severity: 'warning',
    expr: 'layerwell_shared_storage_up == 0',
    for: '10m',
    summary: `${instance} does not use the shared bucket for {{ $labels.kind }}, because it fails.`,
  },
  {
    name: 'LayerwellWebhookFailing',
    severity: 'warning',
    expr: 'time() - layerwell_webhook_oldest_event_timestamp_seconds > 900',
    for: '5m',
    summary: `The webhook {{ $labels.webhook }} has not taken an event of ${instance} for {{ $value | humanizeDuration }}.`,
  },
];

export const alertGroups: readonly AlertGroup[] = [
  { name: 'layerwell.serving', alerts: serving },
  { name: 'layerwell.upstreams', alerts: upstreams },
  { name: 'layerwell.store', alerts: store },
  { name: 'layerwell.process', alerts: process },
];
