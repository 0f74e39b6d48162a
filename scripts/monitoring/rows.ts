import { graph, increaseOf, of, quantileOf, rateOf, type Row, stat, sumBy, table } from './panels.ts';

const content = 'kind=~"manifest|blob"';
const saved = 'cache=~"hit|revalidated|stale|collapsed"';
const counted = 'cache!~"none|negative"';
const requests = 'layerwell_http_requests_total';
const sent = 'layerwell_http_response_bytes_total';
const received = 'layerwell_upstream_response_bytes_total';
/** A series that appears with its first event. */
const orZero = (expr: string) => `${expr} or vector(0)`;

const ratio = (part: string, all: string) => `${sumBy('', part)} / ${sumBy('', all)}`;

const saves: Row = {
  title: 'Does it save?',
  panels: [
    stat(
      'Hit ratio',
      'percentunit',
      ratio(increaseOf(requests, content, saved), increaseOf(requests, content, counted)),
      {
        description: 'Requests for content that were answered without an upstream request of their own.',
        redBelow: 0.5,
      },
    ),
    stat(
      'Byte hit ratio',
      'percentunit',
      `clamp_min(1 - ${ratio(increaseOf(received, 'kind="blob"'), increaseOf(sent, 'kind="blob"'))}, 0)`,
      { description: 'Bytes of blobs that did not come from an upstream.', redBelow: 0.5 },
    ),
    stat('Upstream traffic saved', 'bytes', `${sumBy('', increaseOf(sent))} - ${sumBy('', increaseOf(received))}`),
    stat(
      'Upstream pulls saved',
      'short',
      `${sumBy('', increaseOf(requests, 'kind="manifest"', 'method="GET"'))} - ${sumBy('', increaseOf('layerwell_upstream_requests_total', 'kind="manifest"', 'method="GET"'))}`,
      { description: 'GETs of manifests, which registries count as pulls.' },
    ),
    graph('Requests by cache result', 'reqps', [
      { expr: sumBy('cache', rateOf(requests, content)), legend: '{{cache}}' },
    ]),
    graph('Bytes to clients and from upstreams', 'Bps', [
      { expr: sumBy('', rateOf(sent)), legend: 'to clients' },
      { expr: sumBy('', rateOf(received)), legend: 'from upstreams' },
    ]),
    graph('Collapsed requests', 'reqps', [
      { expr: sumBy('kind', rateOf('layerwell_cache_collapsed_requests_total')), legend: '{{kind}}' },
    ]),
  ],
};

const healthy: Row = {
  title: 'Is it healthy?',
  panels: [
    stat('Replicas', 'short', `count(${of('layerwell_build_info')})`),
    stat(
      'Failed requests',
      'percentunit',
      ratio(`(${orZero(increaseOf(requests, 'code=~"5.."'))})`, increaseOf(requests)),
      {
        redAbove: 0.01,
      },
    ),
    stat('Damaged files found', 'short', sumBy('', increaseOf('layerwell_cache_corruptions_total')), { redAbove: 0.5 }),
    stat('Configuration in use is the last', 'bool_yes_no', `min(${of('layerwell_config_last_reload_successful')})`, {
      redBelow: 1,
    }),
    graph('Responses by status', 'reqps', [{ expr: sumBy('code', rateOf(requests)), legend: '{{code}}' }]),
    graph('Time to first byte', 's', [
      { expr: quantileOf(0.99, 'layerwell_http_time_to_first_byte_seconds', 'cache="hit"'), legend: 'hit, 99 %' },
      { expr: quantileOf(0.5, 'layerwell_http_time_to_first_byte_seconds', 'cache="hit"'), legend: 'hit, 50 %' },
      { expr: quantileOf(0.99, 'layerwell_http_time_to_first_byte_seconds', 'cache="miss"'), legend: 'miss, 99 %' },
      { expr: quantileOf(0.5, 'layerwell_http_time_to_first_byte_seconds', 'cache="miss"'), legend: 'miss, 50 %' },
    ]),
    graph('Requests in progress', 'short', [
      { expr: sumBy('kind', of('layerwell_http_requests_in_flight')), legend: '{{kind}}' },
      { expr: sumBy('', of('layerwell_http_requests_waiting')), legend: 'waiting for headers' },
      { expr: sumBy('', of('layerwell_http_connections')), legend: 'connections' },
    ]),
    graph('Rejected, cut and stale', 'reqps', [
      { expr: sumBy('reason', rateOf('layerwell_http_rejected_total')), legend: 'rejected: {{reason}}' },
      { expr: sumBy('', rateOf('layerwell_http_client_aborts_total')), legend: 'cut' },
      { expr: orZero(sumBy('', rateOf('layerwell_stale_served_total'))), legend: 'stale' },
    ]),
    graph('Store', 'bytes', [
      { expr: sumBy('instance', of('layerwell_storage_used_bytes')), legend: '{{instance}}: used' },
      { expr: sumBy('instance', of('layerwell_cache_capacity_bytes')), legend: '{{instance}}: maximum' },
      { expr: sumBy('instance', of('layerwell_storage_free_bytes')), legend: '{{instance}}: free on the disk' },
    ]),
    graph('Stored and evicted', 'Bps', [
      { expr: sumBy('', rateOf('layerwell_cache_admitted_bytes_total')), legend: 'stored' },
      { expr: sumBy('reason', rateOf('layerwell_cache_evicted_bytes_total')), legend: 'evicted: {{reason}}' },
    ]),
    graph('Disk and index', 's', [
      {
        expr: `histogram_quantile(0.99, ${sumBy('le, operation', rateOf('layerwell_storage_operation_duration_seconds_bucket'))})`,
        legend: 'disk {{operation}}, 99 %',
      },
      {
        expr: `histogram_quantile(0.99, ${sumBy('le, operation', rateOf('layerwell_index_operation_duration_seconds_bucket'))})`,
        legend: 'index {{operation}}, 99 %',
      },
      { expr: sumBy('reason', rateOf('layerwell_storage_errors_total')), legend: 'errors per second: {{reason}}' },
    ]),
    graph(
      'Age of the content that would be evicted next',
      's',
      [{ expr: `time() - ${of('layerwell_cache_oldest_access_timestamp_seconds')}`, legend: '{{instance}}' }],
      { description: 'While the store is full: how long content stays that nobody pulls.' },
    ),
    graph('Memory and event loop', 'short', [
      {
        expr: `${of('layerwell_memory_reserved_bytes')} / ${of('layerwell_memory_budget_bytes')}`,
        legend: '{{instance}}: budget used',
      },
      {
        expr: `${of('nodejs_eventloop_lag_p99_seconds')} and on (job, instance) ${of('layerwell_build_info')}`,
        legend: '{{instance}}: lag in seconds',
      },
      {
        expr: `${of('process_open_fds')} / ${of('process_max_fds')} and on (job, instance) ${of('layerwell_build_info')}`,
        legend: '{{instance}}: descriptors used',
      },
    ]),
  ],
};

const pulls: Row = {
  title: 'Who pulls what?',
  panels: [
    table('Requests by upstream', 'short', sumBy('upstream', increaseOf(requests, content)), {
      description: 'Repositories and clients are in the access log: metrics have no labels that clients choose.',
    }),
    table('Bytes by upstream', 'bytes', sumBy('upstream', increaseOf(sent))),
    graph('Requests by upstream', 'reqps', [
      { expr: sumBy('upstream', rateOf(requests, content)), legend: '{{upstream}}' },
    ]),
    graph('Requests by kind', 'reqps', [
      { expr: sumBy('kind, method', rateOf(requests)), legend: '{{kind}} {{method}}' },
    ]),
    graph('Stored objects', 'short', [{ expr: sumBy('kind', of('layerwell_cache_objects')), legend: '{{kind}}' }]),
  ],
};

const costs: Row = {
  title: 'What does it cost upstream?',
  panels: [
    stat('Upstreams that answer', 'percentunit', `avg(${of('layerwell_upstream_up')})`, { redBelow: 1 }),
    stat(
      'Least share of a rate limit left',
      'percentunit',
      `min(${of('layerwell_upstream_ratelimit_remaining')} / ${of('layerwell_upstream_ratelimit_limit')})`,
      { redBelow: 0.1 },
    ),
    stat('Answers with 429', 'short', sumBy('', increaseOf('layerwell_upstream_throttled_total')), { redAbove: 0.5 }),
    stat(
      'Refused accounts',
      'short',
      orZero(sumBy('', increaseOf('layerwell_upstream_failures_total', 'reason="refused"'))),
      {
        redAbove: 0.5,
      },
    ),
    graph('Upstream requests', 'reqps', [
      { expr: sumBy('upstream, kind', rateOf('layerwell_upstream_requests_total')), legend: '{{upstream}} {{kind}}' },
    ]),
    graph('Upstream requests without success', 'reqps', [
      {
        expr: sumBy('upstream, code', rateOf('layerwell_upstream_requests_total', 'code!~"[23]..|401|404"')),
        legend: '{{upstream}} {{code}}',
      },
      { expr: sumBy('upstream', rateOf('layerwell_upstream_retries_total')), legend: '{{upstream}} repeated' },
    ]),
    graph('Time to response headers, 95 %', 's', [
      {
        expr: `histogram_quantile(0.95, ${sumBy('le, upstream', rateOf('layerwell_upstream_request_duration_seconds_bucket'))})`,
        legend: '{{upstream}}',
      },
      {
        expr: `histogram_quantile(0.95, ${sumBy('le, kind', rateOf('layerwell_upstream_request_duration_by_kind_seconds_bucket'))})`,
        legend: '{{kind}}, all upstreams',
      },
    ]),
    graph('Bytes from upstreams', 'Bps', [{ expr: sumBy('upstream', rateOf(received)), legend: '{{upstream}}' }]),
    graph('Connections', 'short', [
      { expr: orZero(sumBy('', of('layerwell_upstream_connections', 'state="busy"'))), legend: 'busy' },
      { expr: orZero(sumBy('', of('layerwell_upstream_connections', 'state="idle"'))), legend: 'idle' },
      { expr: orZero(sumBy('', of('layerwell_upstream_requests_pending'))), legend: 'requests that wait for one' },
    ]),
    graph('Rate limits', 'short', [
      { expr: of('layerwell_upstream_ratelimit_remaining'), legend: '{{upstream}} {{account}} left' },
      { expr: of('layerwell_upstream_ratelimit_limit'), legend: '{{upstream}} {{account}} limit' },
    ]),
    graph('Downloads', 'short', [
      { expr: orZero(sumBy('', of('layerwell_cache_fills_in_flight'))), legend: 'running' },
      { expr: orZero(sumBy('', of('layerwell_cache_fills_waiting'))), legend: 'waiting' },
    ]),
    graph('Finished downloads', 'ops', [
      { expr: sumBy('result', rateOf('layerwell_cache_fills_total')), legend: '{{result}}' },
    ]),
    graph('Revalidated tags', 'ops', [
      { expr: sumBy('result', rateOf('layerwell_cache_revalidations_total')), legend: '{{result}}' },
    ]),
  ],
};

const replicas: Row = {
  title: 'Replicas',
  panels: [
    stat('Replicas that know each other', 'short', `max(${of('layerwell_cluster_replicas')})`),
    stat('Replicas that reach Redis', 'short', orZero(sumBy('', of('layerwell_redis_up')))),
    graph('Bytes of blobs by source', 'Bps', [
      { expr: sumBy('source', rateOf('layerwell_blob_source_bytes_total')), legend: '{{source}}' },
    ]),
    graph('Leases', 'ops', [
      { expr: sumBy('kind, event', rateOf('layerwell_cluster_leases_total')), legend: '{{kind}} {{event}}' },
    ]),
    graph('Requests to siblings', 'reqps', [
      {
        expr: sumBy('kind, result', rateOf('layerwell_sibling_requests_total')),
        legend: '{{kind}} {{result}}',
      },
    ]),
    graph('Redis', 's', [
      {
        expr: quantileOf(0.99, 'layerwell_redis_command_duration_seconds'),
        legend: 'reply, 99 %',
      },
      { expr: orZero(sumBy('', rateOf('layerwell_redis_errors_total'))), legend: 'errors per second' },
    ]),
    graph('Shared bucket', 'ops', [
      {
        expr: sumBy('operation, result', rateOf('layerwell_shared_storage_requests_total')),
        legend: '{{operation}} {{result}}',
      },
      { expr: sumBy('', of('layerwell_shared_storage_uploads_queued')), legend: 'uploads that wait or run' },
    ]),
  ],
};

/** From what everybody asks first to what few need. */
export const rows: readonly Row[] = [saves, healthy, pulls, costs, replicas];
