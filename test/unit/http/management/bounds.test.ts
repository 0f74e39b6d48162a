import { once } from 'node:events';
import { createServer, type RequestListener, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import Koa from 'koa';
import { expect, test } from 'vitest';
import { managementApi } from '../../../../src/http/management/api/api.ts';
import type { Administration } from '../../../../src/http/management/api/routes.ts';
import { readJsonBody } from '../../../../src/http/management/request-body.ts';
import { gate } from '../../../support/gate.ts';
import { thisTest } from '../../../support/owner.ts';

async function serve(handle: RequestListener): Promise<number> {
  const server = createServer(handle);
  thisTest(async () => {
    server.closeAllConnections();
    server.close();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a TCP server has one
  return (server.address() as AddressInfo).port;
}

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

test('of more than 32 requests at the same time, the rest is answered at once to come again', async () => {
  const [rest, all] = [gate(), gate()];
  let running = 0;
  const impossible = () => {
    throw new Error('not asked for');
  };
  const never = async () => impossible();
  const administration: Administration = {
    requests: { recorded: 0, list: () => [] },
    events: { listen: () => undefined },
    stats: never,
    catalogue: { repositories: never, tags: never },
    pins: { list: () => ({ items: [], pinnedBytes: 0 }), add: never, remove: never },
    purges: { purge: never, purgeByGlob: never },
    refresh: never,
    jobs: { list: impossible, get: impossible, cancel: never, warm: impossible, verify: never },
    storage: { downloads: impossible, nextEvictions: never },
    reload: never,
    images: { details: never },
    minutes: { list: () => ({ items: [] }) },
    upstreams: async () => {
      running += 1;
      if (running === 32) all.open();
      await rest.opened;
      return { items: [] };
    },
  };
  const app = new Koa();
  app.use(managementApi({ administration, host: '127.0.0.1', hosts: [], readToken: undefined, report: () => {} }));
  const handle = app.callback();
  const port = await serve((asked, answer) => void handle(asked, answer));
  const ask = () => fetch(`http://127.0.0.1:${port}/api/v1/upstreams`);
  const asked = Array.from({ length: 32 }, ask);
  await all.opened;
  const refused = await ask();
  expect({ status: refused.status, after: refused.headers.get('retry-after') }).toEqual({ status: 503, after: '1' });
  rest.open();
  expect((await Promise.all(asked)).map(({ status }) => status)).toEqual(Array.from({ length: 32 }, () => 200));
  expect((await ask()).status).toBe(200);
});
