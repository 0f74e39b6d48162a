import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { noReadings } from '../../support/no-readings.ts';

const upstreams = Array.from({ length: 50 }, (_, place) => `registry-${place}.io`);

const isBusy = (place: number) => place < 10;

/** As many digits as the numbers of a day have. */
const [times, bytes] = [2_000, 12_345_678];

type Metrics = ReturnType<typeof createMetrics>;
const durations = { durationMs: 21.4, firstByteMs: 10.7, aborted: false };

/** Each upstream was pulled from: a hit and a miss of a manifest and a blob. */
function pulled(metrics: Metrics, upstream: string): void {
  for (const cache of ['hit', 'miss'] as const) {
    for (const kind of ['manifest', 'blob'] as const)
      metrics.answered({ kind, method: 'GET', status: 200, cache, upstream, bytes, ...durations });
  }
  for (const kind of ['ping', 'token', 'manifest', 'blob'] as const)
    metrics.upstreamAnswered({ upstream, kind, method: 'GET', outcome: 200, durationMs: 98.7 });
  metrics.blobBytes({ upstream, source: 'upstream', bytes });
  for (const kind of ['manifest', 'blob'] as const) metrics.upstreamBytes({ upstream, kind, bytes });
  metrics.downloadStarted({ upstream });
  metrics.manifestDownloaded({ result: 'ok' });
  metrics.downloadEnded({ upstream, result: 'ok', bytes, durationMs: 98.7 });
}

/** By clients that pull tags again and again. */
function pulledOften(metrics: Metrics, upstream: string): void {
  const manifest = { kind: 'manifest', status: 200, upstream, bytes, ...durations } as const;
  for (const cache of ['hit', 'miss', 'revalidated'] as const) metrics.answered({ ...manifest, method: 'HEAD', cache });
  metrics.answered({ ...manifest, method: 'GET', cache: 'revalidated' });
  metrics.upstreamAnswered({ upstream, kind: 'manifest', method: 'HEAD', outcome: 200, durationMs: 98.7 });
  metrics.tagRevalidated({ upstream, result: 'not_modified' });
}

/** Metrics of a mirror whose upstreams have all been pulled from, and are being pulled from; those that are busy with every kind of request. */
function inUse(): Metrics {
  const metrics = createMetrics({
    version: '1.2.3',
    nodeVersion: 'v26.0.0',
    log: { logger: pino({ enabled: false }) },
  });
  const readings = upstreams.map((upstream, place) => {
    const now = isBusy(place) ? 12 : 0;
    const connections = { busy: now, idle: now, waiting: now };
    return { upstream, isUp: true, lastSuccessAtMs: Date.UTC(2030, 0, 1), running: now, connections, waiting: now };
  });
  metrics.readFrom({ ...noReadings, upstreams: () => readings });
  metrics.followUpstreams(upstreams.map((name, place) => ({ name, hasAccount: isBusy(place) })));
  for (const [place, upstream] of upstreams.entries()) {
    for (let time = 0; time < times; time += 1) {
      pulled(metrics, upstream);
      if (isBusy(place)) pulledOften(metrics, upstream);
    }
  }
  return metrics;
}

test('a scrape of 50 upstreams, all in use and ten with every kind of request, has less than 200 kB and takes less than 10 ms', async () => {
  const metrics = inUse();
  const timesMs: number[] = [];
  let text = '';
  for (let scrapes = 0; scrapes < 30; scrapes += 1) {
    const before = process.threadCpuUsage();
    text = await metrics.text();
    const { user, system } = process.threadCpuUsage(before);
    timesMs.push((user + system) / 1_000);
  }
  expect(text).toContain('layerwell_upstream_up{upstream="registry-49.io"} 1');
  expect(Buffer.byteLength(text)).toBeLessThan(198_000);
  expect(Math.min(...timesMs)).toBeLessThan(10); // Of the CPU, and the least, as other programs use the machine too.
});

test('metrics without a series have no lines in a scrape', async () => {
  const text = await inUse().text();
  const described = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name);
  const empty = described.filter((name) => !new RegExp(`^${name}(?:_bucket)?[ {]`, 'm').test(text));
  expect(empty).toEqual([]);
  expect(described.filter((name) => !text.includes(`# HELP ${name} `))).toEqual([]);
});

test('the duration of requests to upstreams is counted by kind as well, over all upstreams', async () => {
  const text = await inUse().text();
  const bucketOf = (kind: string, le: string) => {
    const series = `layerwell_upstream_request_duration_by_kind_seconds_bucket{le="${le}",kind="${kind}"} `;
    return text
      .split('\n')
      .find((line) => line.startsWith(series))
      ?.slice(series.length);
  };
  expect(['manifest', 'blob', 'token', 'ping'].map((kind) => bucketOf(kind, '0.1'))).toEqual([
    '120000',
    '100000',
    '100000',
    '100000',
  ]);
  expect(bucketOf('tags', '0.1')).toBeUndefined(); // None was sent.
});
