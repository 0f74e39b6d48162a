import { request } from 'node:http';
import { Readable } from 'node:stream';
import Koa from 'koa';
import { expect, test } from 'vitest';
import { type ApiDeps, managementApi } from '../../../../src/http/management/api/api.ts';
import type { Administration } from '../../../../src/http/management/api/routes.ts';
import { readJsonBody } from '../../../../src/http/management/request-body.ts';
import { gate } from '../../../support/gate.ts';
import { serve, serveApp } from '../../../support/serve.ts';
import { administration } from './no-administration.ts';

test('a body that stops arriving is waited for only so long', async () => {
  const failed = Promise.withResolvers<unknown>();
  const port = await serve((asked) => void readJsonBody(asked, { withinMs: 20 }).catch(failed.resolve));
  const headers = { 'content-type': 'application/json', 'content-length': '10' };
  const slow = request({ port, host: '127.0.0.1', method: 'POST', headers });
  slow.on('error', () => {});
  slow.write('{"a"');
  expect(await failed.promise).toMatchObject({ kind: 'too-slow' });
  slow.destroy();
});

/** Serves the API of what a test says. */
async function serveApi(asked: Partial<Administration>, deps: Partial<ApiDeps> = {}): Promise<string> {
  const app = new Koa().on('error', () => {}); // A stream that is cut.
  const all = { ...administration, ...asked };
  const none = { host: '127.0.0.1', hosts: [], readToken: undefined, report: () => {} };
  app.use(managementApi({ administration: all, ...none, ...deps }));
  return serveApp(app);
}

test('of more than 32 requests at the same time, the rest is answered at once to come again', async () => {
  const [rest, all] = [gate(), gate()];
  let running = 0;
  const url = await serveApi({
    upstreams: async () => {
      running += 1;
      if (running === 32) all.open();
      await rest.opened;
      return { items: [] };
    },
  });
  const ask = () => fetch(`${url}/api/v1/upstreams`);
  const asked = Array.from({ length: 32 }, ask);
  await all.opened;
  const refused = await ask();
  expect({ status: refused.status, after: refused.headers.get('retry-after') }).toEqual({ status: 503, after: '1' });
  rest.open();
  expect((await Promise.all(asked)).map(({ status }) => status)).toEqual(Array.from({ length: 32 }, () => 200));
  expect((await ask()).status).toBe(200);
});

test('whoever follows the events by a token is cut off when the token is replaced, and not while its file cannot be read', async () => {
  const streams: Readable[] = [];
  const listen = () => {
    const stream = new Readable({ read: () => {} });
    streams.push(stream);
    stream.push('retry: 3000\n\n');
    return stream;
  };
  const file = { token: 'a'.repeat(40), isReadable: true, reads: 0 };
  const unread = gate();
  const readToken = async () => {
    file.reads += 1;
    if (!file.isReadable && file.reads > 3) unread.open();
    if (!file.isReadable) throw new Error('the file cannot be read');
    return file.token;
  };
  const url = await serveApi({ events: { listen } }, { host: '0.0.0.0', readToken, recheckMs: 5 });
  const headers = { authorization: `Bearer ${file.token}` };
  const answer = await fetch(`${url}/api/v1/events`, { headers });
  expect(answer.status).toBe(200);
  file.isReadable = false;
  await unread.opened;
  expect(streams.map(({ destroyed }) => destroyed)).toEqual([false]);
  Object.assign(file, { token: 'b'.repeat(40), isReadable: true });
  await expect(answer.text()).rejects.toThrow('terminated');
  expect(streams.map(({ destroyed }) => destroyed)).toEqual([true]);
});
