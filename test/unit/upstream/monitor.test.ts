import { expect, test } from 'vitest';
import type { RateLimitReport, UpstreamMonitor } from '../../../src/mirror/ports/upstream.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { serve } from './serve.ts';
import { clientOf, unlimited } from './start-client.ts';

class RecordingMonitor implements UpstreamMonitor {
  readonly outcomes: (number | string)[] = [];
  readonly limits: RateLimitReport[] = [];

  readonly health = {
    record: ({ outcome }: { readonly outcome: number | string }) => void this.outcomes.push(outcome),
  };
  readonly rateLimits = { record: (report: RateLimitReport) => void this.limits.push(report) };
}

test('readiness and tag lifetimes get the health and the rate limit of an upstream from the client itself', async () => {
  const registry = await serve((_request, response) => {
    const limits = { 'ratelimit-limit': '200;w=21600', 'ratelimit-remaining': '7;w=21600' };
    response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json', ...limits });
    response.end('{"schemaVersion":2}');
  });
  const monitor = new RecordingMonitor();
  const { client } = clientOf(registry.url, {}, { monitor });

  await client.getManifest(parseRepository('team/app'), parseTag('latest'), unlimited);

  expect(monitor.outcomes).toEqual([200]);
  expect(monitor.limits).toEqual([
    { upstream: 'registry.test', account: 'anonymous', limit: 200, remaining: 7, windowSeconds: 21_600 },
  ]);
});

test('an upstream that gives no answer is reported with the reason, also when it is only pinged', async () => {
  const monitor = new RecordingMonitor();
  const { client } = clientOf('http://127.0.0.1:9', {}, { monitor });

  await client.ping(unlimited);

  expect(monitor.outcomes).toEqual(['connect']);
});
