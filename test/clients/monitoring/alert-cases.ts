/** Series in the notation of promtool, by the metric and its labels. */
export type Series = Readonly<Record<string, string>>;

export interface AlertCase {
  /** When the alert is looked at. */
  readonly at: string;
  /** How often there is a value, and the rules are evaluated; by default every minute. */
  readonly every?: string;
  /** It fires; with each of several. */
  readonly firing: Series | readonly Series[];
  /** It does not; with each of several. */
  readonly quiet: Series | readonly Series[];
}

const mirror = 'job="layerwell", instance="one:5001"';
const hub = `${mirror}, upstream="docker.io"`;
const build = `layerwell_build_info{${mirror}}`;
const requests = (cache: string, code: string) =>
  `layerwell_http_requests_total{${hub}, kind="blob", method="GET", code="${code}", cache="${cache}"}`;
const fills = (result: string) => `layerwell_cache_fills_total{${hub}, result="${result}"}`;
const gauge = (metric: string, labels = mirror) => `${metric}{${labels}}`;
/** Requests for eight hours: of each 1,000 so many fail. */
const failing = (share: number): Series => ({
  [requests('hit', '200')]: `0+${1000 - share}x480`,
  [requests('none', '503')]: `0+${share}x480`,
});
const mostly = (hits: number): Series => ({
  [requests('hit', '200')]: `0+${10 * hits}x480`,
  [requests('miss', '200')]: `0+${10 * (100 - hits)}x480`,
});
/** Of each hundred so many take longer than a second. */
const callsOfDisk = ({ slow }: { readonly slow: number }): Series => ({
  [gauge('layerwell_storage_operation_duration_seconds_bucket', `${mirror}, operation="read", le="1"`)]:
    `0+${100 - slow}x60`,
  [gauge('layerwell_storage_operation_duration_seconds_count', `${mirror}, operation="read"`)]: '0+100x60',
});
const constant = (value: number | string, minutes = 480) => `${value}x${minutes}`;
const days = (count: number) => count * 86_400;
/** Series of promtool have no infinite values. */
const forever = days(1e9);
/** A store that is verified `every` so many seconds. */
const verified = ({
  begunAt = constant('_'),
  lastRound = constant('_'),
  every = days(7),
}: {
  readonly begunAt?: string;
  readonly lastRound?: string;
  readonly every?: number;
}): Series => ({
  [gauge('layerwell_scrub_round_started_timestamp_seconds')]: begunAt,
  [gauge('layerwell_scrub_last_completed_timestamp_seconds')]: lastRound,
  [gauge('layerwell_scrub_interval_seconds')]: constant(every),
});

/** For every alert, when it fires and when it does not. */
export const alertCases: Readonly<Record<string, AlertCase>> = {
  LayerwellDown: {
    at: '30m',
    firing: { [`up{${mirror}}`]: '1x10 0x30', [build]: '1x10 _x30', 'layerwell_build_info{job="two"}': '1x60' },
    quiet: { [`up{${mirror}}`]: '1x60', [build]: '1x60', 'up{job="other", instance="x"}': '0x60' },
  },
  LayerwellErrorBudgetBurnFast: { at: '30m', firing: failing(20), quiet: failing(10) },
  LayerwellErrorBudgetBurnSlow: { at: '1h', firing: failing(8), quiet: failing(4) },
  LayerwellOverload: {
    at: '30m',
    firing: { [gauge('layerwell_http_rejected_total', `${mirror}, reason="requests"`)]: '0x10 0+5x30' },
    quiet: {
      [gauge('layerwell_http_rejected_total', `${mirror}, reason="requests"`)]: '7x60',
      [gauge('layerwell_http_rejected_total', `${mirror}, reason="malformed"`)]: '0+5x60',
    },
  },
  LayerwellServingStale: {
    at: '30m',
    firing: { [gauge('layerwell_stale_served_total', `${hub}, reason="timeout"`)]: '1+5x60' },
    quiet: {
      [gauge('layerwell_stale_served_total', `${hub}, reason="timeout"`)]: '9x60',
      [gauge('layerwell_stale_served_total', `${hub}, reason="gone"`)]: '0+5x60',
    },
  },
  LayerwellHitRatioLow: { at: '90m', every: '3m', firing: mostly(20), quiet: mostly(80) },
  LayerwellUpstreamDown: {
    at: '30m',
    firing: { [gauge('layerwell_upstream_up', hub)]: '1x10 0x30' },
    quiet: { [gauge('layerwell_upstream_up', hub)]: '1x25 0x30' },
  },
  LayerwellUpstreamCircuitOpen: {
    at: '30m',
    firing: {
      [gauge('layerwell_upstream_circuit_state', `${hub}, endpoint="registry", state="open"`)]: '0x10 1x5 0 1x30',
      [gauge('layerwell_upstream_circuit_state', `${hub}, endpoint="registry", state="half-open"`)]: '0x16 1 0x30',
    },
    quiet: { [gauge('layerwell_upstream_circuit_state', `${hub}, endpoint="registry", state="open"`)]: '0x28 1 0x30' },
  },
  LayerwellUpstreamAuthFailing: {
    at: '30m',
    firing: { [gauge('layerwell_upstream_failures_total', `${hub}, reason="refused"`)]: '0x25 1x30' },
    quiet: {
      [gauge('layerwell_upstream_failures_total', `${hub}, reason="refused"`)]: '3x60',
      [gauge('layerwell_upstream_failures_total', `${hub}, reason="timeout"`)]: '0+9x60',
    },
  },
  LayerwellCredentialsExpired: {
    at: '1h',
    firing: {
      [gauge('layerwell_upstream_credentials_expiry_timestamp_seconds', `${hub}, account="ecr-1"`)]: constant(2_400),
      [gauge('layerwell_upstream_requests_total', `${hub}, kind="blob", method="GET", code="401"`)]: '0+5x120',
    },
    quiet: {
      [gauge('layerwell_upstream_credentials_expiry_timestamp_seconds', `${hub}, account="ecr-1"`)]: constant(2_400),
      [gauge('layerwell_upstream_requests_total', `${hub}, kind="blob", method="GET", code="401"`)]: '5x120',
      [gauge('layerwell_upstream_credentials_expiry_timestamp_seconds', `${mirror}, upstream="b", account="google-1"`)]:
        constant(90_000),
      [gauge('layerwell_upstream_requests_total', `${mirror}, upstream="b", kind="blob"`)]: '0+5x120',
    },
  },
  LayerwellRateLimitLow: {
    at: '30m',
    firing: {
      [gauge('layerwell_upstream_ratelimit_limit', `${hub}, account="anonymous"`)]: '100x60',
      [gauge('layerwell_upstream_ratelimit_remaining', `${hub}, account="anonymous"`)]: '9x60',
    },
    quiet: {
      [gauge('layerwell_upstream_ratelimit_limit', `${hub}, account="anonymous"`)]: '100x60',
      [gauge('layerwell_upstream_ratelimit_remaining', `${hub}, account="anonymous"`)]: '11x60',
    },
  },
  LayerwellRateLimited: {
    at: '30m',
    firing: { [gauge('layerwell_upstream_throttled_total', hub)]: '0x10 1+1x30' },
    quiet: { [gauge('layerwell_upstream_throttled_total', hub)]: '4x24 5x60' },
  },
  LayerwellFillFailures: {
    at: '1h',
    firing: { [fills('ok')]: '0+90x120', [fills('upstream_error')]: '0+10x120' },
    quiet: { [fills('ok')]: '0+98x120', [fills('upstream_error')]: '0+2x120', [fills('aborted')]: '0+50x120' },
  },
  LayerwellCorruptionDetected: {
    at: '30m',
    firing: { [gauge('layerwell_cache_corruptions_total', `${mirror}, source="scrub"`)]: '0x20 1x30' },
    quiet: { [gauge('layerwell_cache_corruptions_total', `${mirror}, source="scrub"`)]: '1x60' },
  },
  LayerwellDigestMismatch: {
    at: '30m',
    firing: { [fills('digest_mismatch')]: '0x20 1x30' },
    quiet: { [fills('digest_mismatch')]: '1x60' },
  },
  LayerwellDiskFillingUp: {
    at: '1h',
    firing: {
      [gauge('layerwell_storage_free_bytes')]: '1000-5x480',
      [gauge('layerwell_storage_size_bytes')]: constant(10_000),
    },
    quiet: {
      [gauge('layerwell_storage_free_bytes')]: '1000-0.1x480',
      [gauge('layerwell_storage_size_bytes')]: constant(10_000),
    },
  },
  LayerwellDiskFull: {
    at: '30m',
    firing: {
      [gauge('layerwell_storage_free_bytes')]: '9x60',
      [gauge('layerwell_storage_size_bytes')]: '1000x60',
    },
    quiet: {
      [gauge('layerwell_storage_free_bytes')]: '11x60',
      [gauge('layerwell_storage_size_bytes')]: '1000x60',
      [fills('ok')]: '0+5x60',
      [fills('disk_error')]: '3x60',
    },
  },
  LayerwellDiskFailing: {
    at: '30m',
    firing: { [gauge('layerwell_storage_errors_total', `${mirror}, reason="io"`)]: '0x25 1x35' },
    quiet: {
      [gauge('layerwell_storage_errors_total', `${mirror}, reason="io"`)]: '7x60',
      [gauge('layerwell_storage_errors_total', `${mirror}, reason="full"`)]: '0+5x60',
    },
  },
  LayerwellDiskSlow: { at: '40m', firing: callsOfDisk({ slow: 2 }), quiet: callsOfDisk({ slow: 0.5 }) },
  LayerwellEvictionChurn: {
    at: '90m',
    every: '3m',
    firing: {
      [gauge('layerwell_cache_evicted_bytes_total', `${mirror}, reason="lru"`)]: '0+90x480',
      [gauge('layerwell_cache_admitted_bytes_total', `${mirror}, kind="blob"`)]: '0+100x480',
    },
    quiet: {
      [gauge('layerwell_cache_evicted_bytes_total', `${mirror}, reason="lru"`)]: '0+50x480',
      [gauge('layerwell_cache_evicted_bytes_total', `${mirror}, reason="unused"`)]: '0+90x480',
      [gauge('layerwell_cache_admitted_bytes_total', `${mirror}, kind="blob"`)]: '0+100x480',
    },
  },
  LayerwellIndexDown: {
    at: '1h',
    firing: { [gauge('layerwell_index_up')]: '1x10 0x60' },
    quiet: { [gauge('layerwell_index_up')]: '1x40 0x60' },
  },
  LayerwellScrubStale: {
    at: '40d',
    every: '12h',
    firing: [
      verified({ lastRound: constant(days(5)) }),
      // The first round never ends.
      verified({ begunAt: constant(1) }),
      // Not since, whatever has begun meanwhile.
      verified({ begunAt: `1x16 ${constant(days(38), 80)}`, lastRound: constant(days(3)) }),
    ],
    quiet: [
      verified({ lastRound: constant(days(15)) }),
      // The first round of a new store.
      verified({ begunAt: constant(days(30)) }),
      // Less often, or never, as configured.
      verified({ lastRound: constant(days(5)), every: days(20) }),
      verified({ begunAt: constant(1), every: forever }),
      verified({}),
    ],
  },
  LayerwellEventLoopLag: {
    at: '30m',
    firing: { [gauge('nodejs_eventloop_lag_p99_seconds')]: '0.3x60', [build]: '1x60' },
    quiet: {
      [gauge('nodejs_eventloop_lag_p99_seconds')]: '0.1x60',
      [build]: '1x60',
      'nodejs_eventloop_lag_p99_seconds{job="other", instance="x"}': '3x60',
    },
  },
  LayerwellFdExhaustion: {
    at: '30m',
    firing: { [gauge('process_open_fds')]: '900x60', [gauge('process_max_fds')]: '1000x60', [build]: '1x60' },
    quiet: {
      [gauge('process_open_fds')]: '700x60',
      [gauge('process_max_fds')]: '1000x60',
      [build]: '1x60',
      'process_open_fds{job="other", instance="x"}': '900x60',
      'process_max_fds{job="other", instance="x"}': '1000x60',
    },
  },
  LayerwellCertExpiry: {
    at: '90m',
    every: '3m',
    firing: { [gauge('layerwell_tls_cert_expiry_timestamp_seconds', `${mirror}, use="clients"`)]: constant(days(6)) },
    quiet: { [gauge('layerwell_tls_cert_expiry_timestamp_seconds', `${mirror}, use="clients"`)]: constant(days(8)) },
  },
  LayerwellConfigReloadFailed: {
    at: '30m',
    firing: { [gauge('layerwell_config_last_reload_successful')]: '1x10 0x30' },
    quiet: { [gauge('layerwell_config_last_reload_successful')]: '1x60' },
  },
  LayerwellRedisDown: {
    at: '30m',
    firing: { [gauge('layerwell_redis_up', `${mirror}, connection="index"`)]: '1x10 0x30' },
    quiet: { [gauge('layerwell_redis_up', `${mirror}, connection="index"`)]: '1x28 0x30' },
  },
  LayerwellSharedStorageDown: {
    at: '30m',
    firing: { [gauge('layerwell_shared_storage_up', `${mirror}, kind="read"`)]: '1x10 0x30' },
    quiet: { [gauge('layerwell_shared_storage_up', `${mirror}, kind="read"`)]: '1x25 0x30' },
  },
  LayerwellWebhookFailing: {
    at: '30m',
    firing: { [gauge('layerwell_webhook_oldest_event_timestamp_seconds', `${mirror}, webhook="ops"`)]: '60x60' },
    // An event a minute that is delivered late, and a webhook that has everything again.
    quiet: {
      [gauge('layerwell_webhook_oldest_event_timestamp_seconds', `${mirror}, webhook="ops"`)]: '-600+60x60',
      [gauge('layerwell_webhook_oldest_event_timestamp_seconds', `${mirror}, webhook="chat"`)]: '60x20 _x40',
    },
  },
};
