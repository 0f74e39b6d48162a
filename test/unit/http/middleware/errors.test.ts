import { once } from 'node:events';
import Koa, { type Context } from 'koa';
import { expect, onTestFinished, test } from 'vitest';
import { Exchange, type ExchangeState, RequestDeadline } from '../../../../src/http/server/exchange.ts';
import { answerErrors } from '../../../../src/http/middleware/errors.ts';
import { RememberedNotFound } from '../../../../src/mirror/concurrency/remembered.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { ask, open } from '../../../support/client.ts';

/** A server whose only handler is the one given, and the bugs it reported. */
async function serve(handler: (ctx: Context) => void | Promise<void>) {
  const bugs: unknown[] = [];
  const app = new Koa<ExchangeState>();
  app.silent = true;
  app.use((ctx, next) => {
    ctx.state = { exchange: new Exchange(ctx.res, new RequestDeadline()) };
    return next();
  });
  app.use(answerErrors((bug) => bugs.push(bug)));
  app.use(async (ctx) => handler(ctx));
  const server = app.listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return { served: { url: `http://127.0.0.1:${port}` }, bugs };
}

function throwing(error: unknown): () => never {
  return () => {
    throw error;
  };
}

test.each([
  {
    error: new OciError('BLOB_UNKNOWN', 'no such blob', { detail: { more: 1 } }),
    status: 404,
    body: { code: 'BLOB_UNKNOWN', message: 'no such blob', detail: { more: 1 } },
  },
  { error: new OciError('DENIED', 'no'), status: 403, body: { code: 'DENIED', message: 'no' } },
  {
    error: new UpstreamError('dns', 'no such host'),
    status: 503,
    body: { code: 'UNAVAILABLE', message: 'no such host' },
  },
  {
    error: new UpstreamError('overloaded', 'slow down'),
    status: 429,
    body: { code: 'TOOMANYREQUESTS', message: 'slow down' },
  },
])('$error.name is answered with its status and an OCI error body', async ({ error, status, body }) => {
  const { served, bugs } = await serve(throwing(error));
  const answer = await ask(served, '/');
  expect(answer.status).toBe(status);
  expect(JSON.parse(answer.body.toString())).toEqual({ errors: [body] });
  expect(bugs).toEqual([]);
});

test.each([
  { error: new UpstreamError('overloaded', 'x', { retryAfterSeconds: 7 }), expected: '7' },
  { error: new UpstreamError('overloaded', 'x'), expected: '10' },
  { error: new UpstreamError('busy', 'x'), expected: '10' },
  { error: new UpstreamError('unavailable', 'x', { retryAfterSeconds: 3 }), expected: '3' },
  { error: new UpstreamError('unavailable', 'x'), expected: undefined },
  { error: new OciError('BLOB_UNKNOWN', 'x'), expected: undefined },
])('Retry-After: $error.reason → $expected', async ({ error, expected }) => {
  const { served } = await serve(throwing(error));
  expect((await ask(served, '/')).headers['retry-after']).toBe(expected);
});

test('a remembered "not found" is marked as remembered', async () => {
  const { served } = await serve(throwing(new RememberedNotFound(new OciError('MANIFEST_UNKNOWN', 'no'))));
  expect(await ask(served, '/')).toMatchObject({ status: 404, cache: 'hit; detail=negative' });
});

test.each([[new TypeError('secret internals')], ['a string'], [undefined]])(
  'a bug is logged, and the client gets no details: %s',
  async (bug) => {
    const { served, bugs } = await serve(throwing(bug));
    const answer = await ask(served, '/');
    expect(answer.status).toBe(500);
    expect(JSON.parse(answer.body.toString())).toEqual({ errors: [{ code: 'UNKNOWN', message: 'internal error' }] });
    expect(bugs).toEqual([bug]);
  },
);

test.each([{ length: '10' }, { length: undefined }])(
  'a failure after the headers closes the connection, so that the client does not wait (length $length)',
  async ({ length }) => {
    const { served } = await serve((ctx) => {
      ctx.respond = false;
      ctx.res.writeHead(200, length === undefined ? {} : { 'content-length': length });
      ctx.res.write('12345');
      throw new UpstreamError('misbehaving', 'other bytes');
    });
    const answer = await open(served, '/');
    await expect(answer.rest()).rejects.toThrow('cut');
  },
);
