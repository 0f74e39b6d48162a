import { SpanKind } from '@opentelemetry/api';
import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { randomBlob } from '../support/images.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import { startFakeS3 } from '../support/fake-s3.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { startReplicas } from '../support/start-replicas.ts';
import { describeWithTools } from '../support/tools.ts';
import { recordSpans } from '../support/traces.ts';

const repository = 'library/app';
const traceId = '0af7651916cd43dd8448eb211c80319c';
const traceparent = `00-${traceId}-b7ad6b7169203331-01`;

describeWithTools(redisTools, 'replicas that share a Redis', () => {
  test('what a replica reads from a sibling is one trace, over both', async () => {
    const spans = recordSpans();
    const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
    const blob = randomBlob(1_000_000);
    upstream.content.addBlob(repository, blob);
    const [one, other] = await startReplicas(2, mirrorOf(upstream), { redis, ...spans });
    if (!one || !other) throw new Error('there are two replicas');
    const path = `/v2/${repository}/blobs/${blob.digest}`;
    await ask(one, path);
    await one.quiet();
    await ask(other, path, { headers: { traceparent } });

    expect(upstream.count('GET', /\/blobs\//)).toBe(1);
    const read = await spans.ended('GET /v1/blob');
    expect(read.spanContext().traceId).toBe(traceId);
    const asked = spans.all().find((span) => span.spanContext().spanId === read.parentSpanContext?.spanId);
    expect(asked).toMatchObject({ name: 'GET blob', kind: SpanKind.CLIENT });
    expect(read.attributes['layerwell.sibling.outcome']).toBe('ok');
    const refused = await fetch(`${String(Object(one.config['cluster']).advertise)}/v1/`, { headers: { traceparent } });
    expect(refused.status).toBe(401);
    await ask(one, '/v2/');
    await spans.ended('GET /v2/');
    expect(spans.all().filter((span) => span.attributes['http.response.status_code'] === 401)).toEqual([]);
  });
});

test('calls of the shared bucket are spans of the pull that needs them', async () => {
  const spans = recordSpans();
  const [upstream, s3] = [await startFakeRegistry(), await startFakeS3()];
  const blob = randomBlob(1_000);
  upstream.content.addBlob(repository, blob);
  const { bucket, endpoint, pathStyle } = s3.settings;
  const storage = { shared: { bucket, endpoint, pathStyle } };
  const app = await startApp(mirrorOf(upstream, { storage }), spans);
  await ask(app, `/v2/${repository}/blobs/${blob.digest}`, { headers: { traceparent } });

  const read = await spans.ended('S3/GetObject');
  expect(read.spanContext().traceId).toBe(traceId);
  expect(read.attributes).toEqual({ 'rpc.system': 'aws-api', 'rpc.service': 'S3', 'rpc.method': 'GetObject' });
});
