import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { expect, test } from 'vitest';
import { ask, open } from '../support/client.ts';
import { thisTest } from '../support/owner.ts';
import { startTcpProxy } from './harness/tcp-proxy.ts';

async function startEcho(name: string): Promise<number> {
  const server: Server = createServer((request, response) => response.end(`${name} ${request.url}`));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  thisTest(async () => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the listener has no port');
  return address.port;
}

async function startTwo() {
  const ports = await Promise.all(['one', 'two'].map(startEcho));
  return { ports, proxy: await startTcpProxy(ports, thisTest) };
}

async function textOf(proxy: { readonly url: string }): Promise<string> {
  return (await ask(proxy, '/')).body.toString();
}

test('connections go to the targets in turn', async () => {
  const { proxy } = await startTwo();
  expect([await textOf(proxy), await textOf(proxy), await textOf(proxy)]).toEqual(['one /', 'two /', 'one /']);
});

test('a target that was taken out gets no connection until it is put back', async () => {
  const { proxy, ports } = await startTwo();
  proxy.takeOut(ports[0] ?? 0);
  expect([await textOf(proxy), await textOf(proxy)]).toEqual(['two /', 'two /']);
  proxy.putBack(ports[0] ?? 0);
  expect([await textOf(proxy), await textOf(proxy)].toSorted()).toEqual(['one /', 'two /']);
});

test('what is sent over a silent link arrives when it is mended', async () => {
  const { proxy } = await startTwo();
  proxy.fail({ isSilent: true });
  const asked = textOf(proxy);
  await expect.poll(() => proxy.connections).toBe(1);
  proxy.mend();
  expect(await asked).toBe('one /');
});

test('what is sent over a link that falls silent in its middle arrives when it is mended', async () => {
  const { proxy } = await startTwo();
  proxy.fail({ silentAfterBytes: 10 });
  let text = '';
  const asked = textOf(proxy).then((all) => (text = all));
  await expect.poll(() => proxy.receivedBytes).toBeGreaterThan(10);
  expect(text).toBe('');
  proxy.mend();
  expect(await asked).toBe('one /');
});

test('a link that refuses resets new connections', async () => {
  const { proxy } = await startTwo();
  proxy.fail({ refuses: true });
  await expect(open(proxy, '/')).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('a link with a latency adds it in both directions', async () => {
  const { proxy } = await startTwo();
  proxy.fail({ latencyMs: 50 });
  const startedAtMs = performance.now();
  await textOf(proxy);
  expect(performance.now() - startedAtMs).toBeGreaterThan(99);
});
