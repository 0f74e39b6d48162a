import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createMetrics } from '../../../src/telemetry/metrics.ts';

/** Of a mirror to which nothing has happened. */
async function firstScrape(): Promise<string> {
  const log = { logger: pino({ enabled: false }) };
  return createMetrics({ version: '1.2.3', nodeVersion: 'v26.0.0', log }).text();
}

test('the first download that fails is an increase, whatever its result', async () => {
  const text = await firstScrape();
  const results = ['ok', 'digest_mismatch', 'short', 'upstream_error', 'disk_error', 'no_room', 'aborted'];
  for (const kind of ['manifest', 'blob']) {
    for (const result of results)
      expect(text).toContain(`layerwell_cache_fills_by_kind_total{kind="${kind}",result="${result}"} 0\n`);
  }
});

test('the first request that the management listener rejects is an increase, whatever the reason', async () => {
  const text = await firstScrape();
  for (const reason of ['connections', 'requests', 'malformed', 'slow_client'])
    expect(text).toContain(`layerwell_management_rejected_total{reason="${reason}"} 0\n`);
});

test('no gauge is named as a counter', async () => {
  expect(await firstScrape()).not.toMatch(/^# TYPE \S+_total gauge$/m);
});
