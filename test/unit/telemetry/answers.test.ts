import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import type { Observer } from '../../../src/mirror/ports/observer.ts';
import { Answers, mostRepositories } from '../../../src/telemetry/answers.ts';
import { parseMetrics } from '../../support/metrics.ts';

type Answered = Parameters<Observer['answered']>[0];

const hit: Answered = {
  kind: 'manifest',
  method: 'GET',
  status: 200,
  cache: 'hit',
  upstream: 'docker.io',
  bytes: 10,
  durationMs: 2,
  firstByteMs: 1,
  aborted: false,
};

async function countedOf(...answers: readonly Partial<Answered>[]) {
  const registry = new Registry();
  const counted = new Answers(registry);
  for (const answer of answers) counted.count({ ...hit, ...answer });
  return { text: () => registry.metrics(), metrics: async () => parseMetrics(await registry.metrics()) };
}

test('responses are counted by result, upstream and bytes', async () => {
  const { metrics } = await countedOf(
    {},
    {},
    { cache: 'miss', bytes: 5, aborted: true },
    { kind: 'blob', status: 404, bytes: 0 },
  );
  const counted = await metrics();
  expect(counted.sum('layerwell_http_requests_total')).toBe(4);
  expect(counted.sum('layerwell_http_requests_total', { kind: 'manifest', cache: 'hit', code: '200' })).toBe(2);
  expect(counted.sum('layerwell_http_requests_total', { kind: 'blob', code: '404', upstream: 'docker.io' })).toBe(1);
  expect(counted.sum('layerwell_http_response_bytes_total', { cache: 'hit' })).toBe(20);
  expect(counted.sum('layerwell_http_response_bytes_total', { cache: 'miss' })).toBe(5);
  expect(counted.sum('layerwell_http_client_aborts_total', { kind: 'manifest' })).toBe(1);
});

test('any number of invented methods is one series', async () => {
  const { text } = await countedOf({ method: 'PROPFIND' }, { method: 'MKCOL' }, { method: 'HEAD' });
  const series = (await text()).split('\n').filter((line) => line.startsWith('layerwell_http_requests_total{'));
  expect(series).toHaveLength(2);
  expect(series.find((line) => line.includes('method="other"'))).toMatch(/ 2$/);
});

test('durations are a histogram with cumulative buckets', async () => {
  const times = [0.2, 1, 1.1, 4_000, 400_000];
  const { text, metrics } = await countedOf(
    ...times.map((durationMs) => ({ durationMs, firstByteMs: durationMs / 1_000 })),
    { kind: 'blob', status: 206 },
    { kind: 'blob', status: 200 },
  );
  expect(await text()).toContain('# TYPE layerwell_http_request_duration_seconds histogram\n');
  const counted = await metrics();
  const upTo = (le: string) =>
    counted.sum('layerwell_http_request_duration_seconds_bucket', { kind: 'manifest', cache: 'hit', le });
  expect(['0.005', '2.5', '5', '300', '+Inf'].map(upTo)).toEqual([3, 3, 4, 4, 5]);
  const named = (what: string, kind: string) => counted.sum(`layerwell_http_${what}`, { kind, cache: 'hit' });
  expect(named('request_duration_seconds_count', 'manifest')).toBe(5);
  expect(named('request_duration_seconds_sum', 'manifest')).toBeCloseTo(404.0023, 9);
  expect(named('time_to_first_byte_seconds_sum', 'manifest')).toBeCloseTo(0.4040023, 9);
  expect(named('request_duration_seconds_count', 'blob')).toBe(2);
});

test.each([
  { name: 'request_duration_seconds', first: '0.005', last: '300' },
  { name: 'time_to_first_byte_seconds', first: '0.001', last: '30' },
])('the buckets of $name are from $first to $last seconds', async ({ name, first, last }) => {
  const { text } = await countedOf({});
  const lines = [...(await text()).matchAll(new RegExp(`^layerwell_http_${name}_bucket{le="([^"]+)"`, 'gm'))];
  const bounds = lines.map(([, bound]) => bound);
  expect([bounds[0], bounds.at(-2), bounds.at(-1)]).toEqual([first, last, '+Inf']);
});

test('counters continue from scrape to scrape', async () => {
  const { metrics } = await countedOf({});
  await metrics();
  expect((await metrics()).sum('layerwell_http_requests_total')).toBe(1);
  expect((await metrics()).sum('layerwell_http_request_duration_seconds_count')).toBe(1);
});

test('what was served is counted by repository, for the 1000 that were served last; the rest is a sum', () => {
  const answers = new Answers(new Registry());
  const served = (repository: string) => answers.count({ ...hit, repository });
  served('docker.io/library/first');
  served('docker.io/library/first');
  for (let at = 0; at < 5_000; at += 1) served(`docker.io/library/app-${at}`);
  served('docker.io/library/app-4999');
  const { byName, forgotten } = answers.repositories();
  expect(byName.size).toBe(mostRepositories);
  expect(byName.get('docker.io/library/app-4999')).toEqual({ answers: 2, bytes: 20 });
  expect(byName.has('docker.io/library/first')).toBe(false);
  expect(forgotten).toEqual({ answers: 5_003 - 1_001, bytes: 10 * (5_003 - 1_001) });
});

test('names that are refused take no place among the repositories', () => {
  const answers = new Answers(new Registry());
  for (const status of [404, 429, 503]) answers.count({ ...hit, status, repository: `docker.io/none/${status}` });
  answers.count(hit);
  expect(answers.repositories()).toEqual({ byName: new Map(), forgotten: { answers: 0, bytes: 0 } });
});
