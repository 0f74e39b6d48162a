import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { get } from '../support/pull.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const tagPath = '/v2/library/app/manifests/1';

async function startWith(clients: object = {}): Promise<RunningApp> {
  const upstream = await startFakeRegistry();
  upstream.content.add('library/app', '1', image());
  return startApp({ ...mirrorOf(upstream), clients });
}

/** The log line of one request. */
async function lineOf(app: RunningApp, path: string, headers: Record<string, string> = {}) {
  const answer = await get(app, path, { headers });
  await expect
    .poll(() => app.logLines.filter(({ msg, path: logged }) => msg === 'request' && logged === path))
    .toHaveLength(1);
  return { answer, line: app.logLines.find(({ path: logged }) => logged === path) ?? {} };
}

test('a request has an id in the log, and an error tells it to the client', async () => {
  const app = await startWith();
  const { line, answer } = await lineOf(app, '/v2/library/app/manifests/none');

  expect(answer.status).toBe(404);
  expect(line['requestId']).toMatch(/^[0-9a-f]{12}-1$/);
  expect(answer.headers.get('x-request-id')).toBe(line['requestId']);
});

test('the id that a client or proxy sends is kept, if it is short and plain', async () => {
  const app = await startWith();
  const { line } = await lineOf(app, tagPath, { 'x-request-id': 'ci/build-42:step.3' });
  const { line: other } = await lineOf(app, '/v2/', { 'x-request-id': 'a b"}' });
  const { line: long } = await lineOf(app, '/v2/library/app/tags/list', { 'x-request-id': 'x'.repeat(129) });

  expect(line['requestId']).toBe('ci/build-42:step.3');
  expect(other['requestId']).toMatch(/^[0-9a-f]{12}-1$/);
  expect(long['requestId']).toMatch(/^[0-9a-f]{12}-2$/);
});

test("the log names a client's trace, also without tracing", async () => {
  const app = await startWith();
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const { line } = await lineOf(app, tagPath, { traceparent });
  const { line: zero } = await lineOf(app, '/v2/', { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` });

  expect(line['traceId']).toBe('0af7651916cd43dd8448eb211c80319c');
  expect(zero).not.toHaveProperty('traceId');
});

test.each([
  ['of version ff', `ff-${'a'.repeat(32)}-${'b'.repeat(16)}-01`],
  ['with more than version 00 has', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01-x`],
  ['sent twice', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01, 00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`],
  ['without a span', `00-${'a'.repeat(32)}-${'0'.repeat(16)}-01`],
])('the log does not name a trace by a traceparent %s', async (_, traceparent) => {
  const { line } = await lineOf(await startWith(), '/v2/', { traceparent });
  expect(line).not.toHaveProperty('traceId');
});

test('behind a trusted proxy the log names the client that the proxy names', async () => {
  const app = await startWith({ trustedProxies: ['127.0.0.0/8', '::1'] });
  const { line } = await lineOf(app, tagPath, { 'x-forwarded-for': '10.0.0.1, 203.0.113.9' });

  expect(line).toMatchObject({ client: '203.0.113.9', proxy: '127.0.0.1' });
});

test('no proxy is trusted unless it is configured', async () => {
  const app = await startWith();
  const { line } = await lineOf(app, tagPath, { 'x-forwarded-for': '203.0.113.9', forwarded: 'for=203.0.113.9' });

  expect(line['client']).toBe('127.0.0.1');
  expect(line).not.toHaveProperty('proxy');
});

test('a client with an IPv4 address has it in the log, also where the listener is on all addresses', async () => {
  const upstream = await startFakeRegistry();
  const app = await startApp({ ...mirrorOf(upstream), listen: { host: '::', port: 0 } });
  expect((await fetch(`http://127.0.0.1:${new URL(app.url).port}/v2/`)).status).toBe(200);
  const requests = () => app.logLines.filter(({ msg }) => msg === 'request');
  await expect.poll(requests).toMatchObject([{ client: '127.0.0.1' }]);
});
