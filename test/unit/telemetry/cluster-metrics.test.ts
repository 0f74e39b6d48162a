import { expect, test } from 'vitest';
import { createLogger } from '../../../src/telemetry/log.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { RepeatedLines } from '../../../src/telemetry/repeated-lines.ts';
import { parseMetrics } from '../../support/metrics.ts';

function startMetrics() {
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', repeated: new RepeatedLines() }, (text) => lines.push(text));
  const metrics = createMetrics({ version: 't', nodeVersion: 't', log: { logger } });
  return { metrics, lines, read: async () => parseMetrics(await metrics.text()) };
}

test('the metrics of Redis begin at 0 with its connection', async () => {
  const { metrics, read } = startMetrics();
  metrics.redisChanged({ connection: 'cluster', state: 'connecting' });
  const text = await metrics.text();
  expect(text).toContain('layerwell_redis_up{connection="cluster"} 0');
  expect(text).toContain('layerwell_redis_errors_total{connection="cluster",reason="timeout"} 0');
  expect(text).toContain('layerwell_cluster_leases_total{kind="content",event="taken_over"} 0');
  metrics.redisChanged({ connection: 'cluster', state: 'up' });
  metrics.redisAnswered({ connection: 'cluster', command: 'claim', outcome: 'ok', durationMs: 3 });
  metrics.redisAnswered({ connection: 'cluster', command: 'claim', outcome: 'full', durationMs: 1 });
  metrics.lease({ kind: 'content', what: 'taken' });
  metrics.replicasKnown({ replicas: 3 });
  const after = await read();
  expect(after.sum('layerwell_redis_up')).toBe(1);
  expect(after.sum('layerwell_redis_command_duration_seconds_count')).toBe(1);
  expect(after.sum('layerwell_redis_errors_total')).toBe(1);
  expect(after.sum('layerwell_cluster_leases_total')).toBe(1);
  expect(after.sum('layerwell_cluster_replicas')).toBe(3);
});

test('the log says when Redis goes and comes, and that its policy may evict what must stay', () => {
  const { metrics, lines } = startMetrics();
  metrics.redisChanged({ connection: 'index', state: 'down', reason: 'timeout' });
  metrics.redisChanged({ connection: 'index', state: 'up', harmfulPolicy: 'allkeys-lru' });
  const said = lines.map((line): unknown => JSON.parse(line));
  expect(said).toMatchObject([
    { level: 40, connection: 'index', reason: 'timeout', msg: 'redis is down' },
    { level: 30, connection: 'index', msg: 'redis is up' },
    { level: 40, policy: 'allkeys-lru' },
  ]);
});
