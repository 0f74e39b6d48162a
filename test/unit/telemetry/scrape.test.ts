import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { noReadings } from '../../support/no-readings.ts';

const upstreams = Array.from({ length: 50 }, (_, place) => `registry-${place}.io`);

/** Metrics of a mirror whose upstreams have all been pulled from: tags and blobs, hits and misses. */
function inUse() {
  const metrics = createMetrics({
    version: '1.2.3',
    nodeVersion: 'v26.0.0',
    log: { logger: pino({ enabled: false }) },
  });
  const isBusy = (place: number) => Number(place < 10);
  const readings = upstreams.map((upstream, place) => ({
    upstream,
    isUp: true,
    lastSuccessAtMs: Date.UTC(2030, 0, 1),
    running: isBusy(place),
    waiting: isBusy(place),
  }));
  metrics.readFrom({ ...noReadings, upstreams: () => readings });
  metrics.followUpstreams(upstreams.map((name, place) => ({ name, hasAccount: place < 10 })));
  const times = { durationMs: 20, firstByteMs: 10, aborted: false };
  for (const upstream of upstreams) {
    for (const cache of ['hit', 'miss'] as const) {
      for (const kind of ['manifest', 'blob'] as const)
        metrics.answered({ kind, method: 'GET', status: 200, cache, upstream, bytes: 1, ...times });
      metrics.answered({ kind: 'manifest', method: 'HEAD', status: 200, cache, upstream, bytes: 0, ...times });
    }
    metrics.answered({
      kind: 'manifest',
      method: 'GET',
      status: 200,
      cache: 'revalidated',
      upstream,
      bytes: 1,
      ...times,
    });
    for (const kind of ['ping', 'token', 'manifest', 'blob'] as const)
      metrics.upstreamAnswered({ upstream, kind, method: 'GET', outcome: 200, durationMs: 100 });
    metrics.upstreamAnswered({ upstream, kind: 'manifest', method: 'HEAD', outcome: 200, durationMs: 100 });
    metrics.blobBytes({ upstream, source: 'upstream', bytes: 1 });
    metrics.downloadStarted({ upstream });
    metrics.downloadEnded({ upstream, result: 'ok', bytes: 1, durationMs: 100 });
    metrics.tagRevalidated({ upstream, result: 'not_modified' });
  }
  return metrics;
}

test('a scrape of 50 upstreams in use has less than 200 kB and takes less than 10 ms', async () => {
  const metrics = inUse();
  const timesMs: number[] = [];
  let text = '';
  for (let scrapes = 0; scrapes < 30; scrapes += 1) {
    const startedAt = performance.now();
    text = await metrics.text();
    timesMs.push(performance.now() - startedAt);
  }
  expect(text).toContain('layerwell_upstream_up{upstream="registry-49.io"} 1');
  expect(Buffer.byteLength(text)).toBeLessThan(200_000);
  expect(Math.min(...timesMs)).toBeLessThan(10); // The least, as other programs use the machine too.
});
