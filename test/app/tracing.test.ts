import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { expect, test } from 'vitest';
import { createTracing } from '../../src/telemetry/tracing.ts';
import { ask, caughtUp, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { startHolding } from '../support/held-blob.ts';
import { image, randomBlob } from '../support/images.ts';
import { get, pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { recordSpans } from '../support/traces.ts';

const repository = 'library/app';
const tagPath = `/v2/${repository}/manifests/1`;
const traceId = '0af7651916cd43dd8448eb211c80319c';
const traceparent = `00-${traceId}-b7ad6b7169203331-01`;

test('without an SDK there is no tracing', () => {
  expect(createTracing({ version: 'test' })).toBeUndefined();
});

test('a pull has a span, and its upstream requests are children of it', async () => {
  const spans = recordSpans();
  const upstream = await startFakeRegistry({ auth: { kind: 'bearer' } });
  upstream.content.add(repository, '1', image());
  const app = await startApp(mirrorOf(upstream), spans);
  await get(app, `${tagPath}?ns=docker.io&secret=hidden`);

  const served = await spans.ended('GET /v2/{name}/manifests/{reference}');
  expect(served.kind).toBe(SpanKind.SERVER);
  expect(served.parentSpanContext).toBeUndefined();
  expect(served.attributes).toMatchObject({
    'http.request.method': 'GET',
    'http.route': '/v2/{name}/manifests/{reference}',
    'http.response.status_code': 200,
    'url.path': tagPath,
    'url.scheme': 'http',
    'client.address': '127.0.0.1',
    'layerwell.cache': 'miss',
    'layerwell.upstream': 'docker.io',
    'layerwell.repository': repository,
    'layerwell.reference': '1',
  });
  const [unauthorized, token, asked] = [
    await spans.ended('GET manifest', 1),
    await spans.ended('GET token'),
    await spans.ended('GET manifest', 2),
  ];
  for (const child of [unauthorized, token, asked]) {
    expect(child.kind).toBe(SpanKind.CLIENT);
    expect(child.parentSpanContext?.spanId).toBe(served.spanContext().spanId);
  }
  expect(unauthorized.attributes).toMatchObject({ 'http.response.status_code': 401, 'error.type': '401' });
  expect(asked.attributes).toMatchObject({
    'http.request.method': 'GET',
    'http.response.status_code': 200,
    'server.address': '127.0.0.1',
    'server.port': Number(new URL(upstream.url).port),
    'url.full': `${upstream.url}${tagPath}`,
    'layerwell.upstream': 'docker.io',
    'layerwell.request.kind': 'manifest',
  });
  expect(token.attributes).not.toHaveProperty('url.full');
  expect(JSON.stringify(spans.all().map(({ attributes }) => attributes))).not.toMatch(/hidden|Bearer|scope|\?/);
});

test("a span continues the client's trace, and the log names it", async () => {
  const spans = recordSpans();
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const app = await startApp(mirrorOf(upstream), spans);
  await ask(app, tagPath, { headers: { traceparent } });
  await ask(app, '/v2/');

  const served = await spans.ended('GET /v2/{name}/manifests/{reference}');
  expect(served.spanContext().traceId).toBe(traceId);
  expect(served.parentSpanContext).toMatchObject({ spanId: 'b7ad6b7169203331', isRemote: true });
  expect(app.logLines.find(({ path }) => path === tagPath)).toMatchObject({
    traceId,
    requestId: served.attributes['layerwell.request.id'],
  });
  const ping = await spans.ended('GET /v2/');
  await expect
    .poll(() => app.logLines.find(({ path }) => path === '/v2/')?.['traceId'])
    .toBe(ping.spanContext().traceId);
});

test('the trace context leaves the mirror only if the upstream is to get it, and never for tokens and redirects', async () => {
  const spans = recordSpans();
  const cdn = await startFakeRegistry();
  const realm = await startFakeRegistry({ auth: { kind: 'bearer' } });
  const upstream = await startFakeRegistry({ auth: { kind: 'bearer' } });
  const blob = randomBlob(1_000);
  for (const one of [upstream, cdn]) one.content.addBlob(repository, blob);
  upstream.script(
    { path: /\/blobs\// },
    { redirectTo: (path) => `http://localhost:${new URL(cdn.url).port}${path}?X-Amz-Signature=signed` },
  );
  const settings = { url: upstream.url, redirectHosts: [`localhost:${new URL(cdn.url).port}`], sendTraceContext: true };
  const app = await startApp({ defaultUpstream: 'docker.io', upstreams: { 'docker.io': settings } }, spans);
  const headers = { traceparent, baggage: 'password=hidden' };
  const { status } = await ask(app, `/v2/${repository}/blobs/${blob.digest}`, { headers });

  expect(status).toBe(200);
  const sent = upstream.seen('GET', /\/blobs\//).map((request) => request.headers['traceparent']);
  expect(sent).toHaveLength(2);
  for (const one of sent) expect(one).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
  const others = [...upstream.seen('GET', /^\/token/), ...cdn.requests, ...realm.requests];
  expect(others.length).toBeGreaterThanOrEqual(2);
  expect(others.filter((request) => request.headers['traceparent'] !== undefined)).toEqual([]);
  expect([...upstream.requests, ...cdn.requests].filter((request) => request.headers['baggage'])).toEqual([]);
  expect(JSON.stringify(spans.all().map(({ attributes }) => attributes))).not.toMatch(/signed|hidden/);
});

test('other instrumentations do not see upstream requests: they would send the trace context to every host', () => {
  const { tracing } = recordSpans();
  const [method, kind, upstream] = ['GET', 'token', 'docker.io'];
  const request = {
    method,
    kind,
    upstream,
    url: new URL('https://auth.test/token'),
    isOwn: false,
    sendsContext: false,
  };
  const isRecorded: boolean[] = [];
  const begin = () => isRecorded.push(trace.getTracer('undici').startSpan('GET').isRecording());
  tracing.ask(request).sending(begin);
  begin();
  expect(isRecorded).toEqual([false, true]);
});

test('by default no upstream gets the trace context', async () => {
  const spans = recordSpans();
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const app = await startApp(mirrorOf(upstream), spans);
  await ask(app, tagPath, { headers: { traceparent, tracestate: 'a=b', 'x-request-id': 'mine' } });

  expect(upstream.count('GET', /manifests/)).toBe(1);
  const sent = upstream.requests.flatMap(({ headers }) => Object.keys(headers));
  expect(sent.filter((name) => ['traceparent', 'tracestate', 'x-request-id'].includes(name))).toEqual([]);
});

test.each([
  ['a download', {}],
  ['a relay of a blob that cannot be stored', { storage: { maxSize: '1MB' } }],
])('a client that joins %s has a link to the request that began it', async (_, config) => {
  const spans = recordSpans();
  const { upstream, app, path, held } = await startHolding(2_000_000, { bytes: 1_000_000 }, config, spans);
  const first = await open(app, path, { headers: { traceparent } });
  const second = await open(app, path);
  held.open();
  await Promise.all([first.rest(), second.rest()]);

  const name = 'GET /v2/{name}/blobs/{digest}';
  const both = [await spans.ended(name, 1), await spans.ended(name, 2)];
  const began = both.find((span) => span.spanContext().traceId === traceId);
  const joined = both.find((span) => span !== began);
  expect(upstream.count('GET', /\/blobs\//)).toBe(1);
  expect((await spans.ended('GET blob')).parentSpanContext?.spanId).toBe(began?.spanContext().spanId);
  expect(joined?.links.map((link) => link.context.spanId)).toEqual([began?.spanContext().spanId]);
  expect(began?.links).toEqual([]);
  expect(joined?.attributes['layerwell.cache']).toBe('collapsed');
});

test('clients that ask for one tag at once have links to the first', async () => {
  const spans = recordSpans();
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const answering = gate();
  upstream.script({ path: /manifests/ }, { holdHeaders: answering });
  const app = await startApp(mirrorOf(upstream), spans);
  const first = ask(app, tagPath, { headers: { traceparent } });
  await upstream.arrived('GET', /manifests/);
  const others = [ask(app, tagPath), ask(app, tagPath)];
  await caughtUp(app);
  answering.open();
  await Promise.all([first, ...others]);

  const name = 'GET /v2/{name}/manifests/{reference}';
  const served = [await spans.ended(name, 1), await spans.ended(name, 2), await spans.ended(name, 3)];
  const linked = served.filter((span) => span.links.some((link) => link.context.traceId === traceId));
  expect(linked).toHaveLength(2);
});

test('an upstream that gives no answer is an error of both spans, a missing image is none of the first', async () => {
  const spans = recordSpans();
  const upstream = await startFakeRegistry();
  const app = await startApp(mirrorOf(upstream), spans);
  await ask(app, tagPath);
  upstream.script({}, { dropConnection: true });
  await ask(app, `/v2/${repository}/manifests/2`);

  const name = 'GET /v2/{name}/manifests/{reference}';
  const [missing, failed] = [await spans.ended(name, 1), await spans.ended(name, 2)];
  expect(missing.status.code).toBe(SpanStatusCode.UNSET);
  expect(missing.attributes['http.response.status_code']).toBe(404);
  expect(failed.status.code).toBe(SpanStatusCode.ERROR);
  expect(failed.attributes['error.type']).toBe('503');
  const asked = spans.all().filter((span) => span.name === 'GET manifest');
  expect(asked.at(-1)?.attributes['error.type']).toBe('connect');
});

test('a method that clients invent does not name a span, and long texts are cut', async () => {
  const spans = recordSpans();
  const app = await startApp(mirrorOf(await startFakeRegistry()), spans);
  const { status } = await ask(app, `/${'x'.repeat(2_000)}`, {
    method: 'PROPFIND',
    headers: { 'user-agent': 'y'.repeat(2_000) },
  });

  expect(status).toBeGreaterThanOrEqual(404);
  const served = await spans.ended('_OTHER');
  expect(String(served.attributes['url.path'])).toHaveLength(512);
  expect(String(served.attributes['user_agent.original'])).toHaveLength(512);
});

test('everything that a pull began has ended', async () => {
  const spans = recordSpans();
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image({ layerBytes: 300_000 }));
  const app = await startApp(mirrorOf(upstream), spans);
  const { parts } = await pullAll(app, repository, '1');
  await spans.ended('GET /v2/{name}/blobs/{digest}', parts.size - 1);

  const blobs = spans.all().filter((span) => span.name === 'GET blob');
  expect(blobs).toHaveLength(upstream.count('GET', /\/blobs\//));
  const received = blobs.map((span) => Number(span.attributes['http.response.body.size']));
  const sent = upstream.seen('GET', /\/blobs\//).map(({ sentBytes }) => sentBytes);
  expect(new Set(received)).toEqual(new Set(sent));
});
