import { rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { askApi } from '../support/api-answers.ts';
import { startApp } from '../support/start-app.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const token = 'a'.repeat(40);
const upstreams = { 'docker.io': { url: 'http://127.0.0.1:9' } };
const json = { 'content-type': 'application/json' };

async function start({ host = '127.0.0.1', hasToken = true, hosts = [] as string[] } = {}) {
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, `${token}\n`);
  const management = { host, port: 0, hosts, ...(hasToken && { tokenFile }) };
  const app = await startApp({ upstreams, management });
  const { port } = new URL(app.managementUrl);
  return { app, tokenFile, managementUrl: `http://127.0.0.1:${port}`, port };
}

test('on a loopback address reading needs no token, and changing something does', async () => {
  const at = await start();
  expect((await askApi(at, '/api/v1/stats')).status).toBe(200);
  const refused = await askApi(at, '/api/v1/reload', { method: 'POST' });
  expect(refused).toMatchObject({ status: 401, body: { type: '/problems/token-missing' } });
  expect(refused.headers['www-authenticate']).toBe('Bearer realm="layerwell"');
});

test('beyond loopback nothing is answered without the token, not even whether a path exists', async () => {
  const at = await start({ host: '0.0.0.0' });
  for (const path of ['/api/v1/stats', '/api/v1/upstreams', '/api/v1/nothing']) {
    expect(await askApi(at, path)).toMatchObject({ status: 401, body: { type: '/problems/token-missing' } });
  }
  expect((await askApi(at, '/api/v1/stats', { token })).status).toBe(200);
  expect((await fetch(`${at.managementUrl}/healthz`)).status).toBe(200);
});

test('without a configured token nothing can be changed, and beyond loopback nothing be read: the problem names the key', async () => {
  const problem = { status: 403, body: { detail: expect.stringContaining('management.tokenFile') } };
  const local = await start({ hasToken: false });
  expect(await askApi(local, '/api/v1/reload', { method: 'POST', token })).toMatchObject(problem);
  const open = await start({ hasToken: false, host: '0.0.0.0' });
  expect(await askApi(open, '/api/v1/stats', { token })).toMatchObject(problem);
});

test.each(['', 'b'.repeat(40), 'a'.repeat(39), 'a'.repeat(41)])('a wrong token is refused: "%s"', async (wrong) => {
  const at = await start();
  const refused = { status: 401, body: { type: '/problems/token-refused' } };
  expect(await askApi(at, '/api/v1/stats', { token: wrong })).toMatchObject(refused);
  const basic = { authorization: `Basic ${token}` };
  expect(await askApi(at, '/api/v1/stats', { headers: basic })).toMatchObject(refused);
});

test('a new token is accepted as soon as its file has it, and the old one no longer', async () => {
  const at = await start({ host: '0.0.0.0' });
  await writeFile(at.tokenFile, 'c'.repeat(32));
  expect((await askApi(at, '/api/v1/stats', { token: 'c'.repeat(32) })).status).toBe(200);
  expect((await askApi(at, '/api/v1/stats', { token })).status).toBe(401);
});

test('a token that can be guessed, or no file, accepts nobody', async () => {
  const at = await start();
  const unusable = { status: 503, body: { type: '/problems/token-unreadable' } };
  await writeFile(at.tokenFile, 'short');
  const answer = await askApi(at, '/api/v1/stats', { token: 'short' });
  expect(answer).toMatchObject(unusable);
  expect(JSON.stringify(answer.body)).not.toContain(at.tokenFile);
  await rm(at.tokenFile);
  expect(await askApi(at, '/api/v1/stats', { token })).toMatchObject(unusable);
  expect(at.app.logLines.filter(({ msg }) => msg === 'the token of the management API cannot be used')).toHaveLength(2);
});

test.each(['evil.test', 'evil.test:5001', '127.0.0.1.evil.test', 'localhost.evil.test', '127.0.0.1@evil.test', ' '])(
  'a name that a page of another site may have pointed here is refused (DNS rebinding): "%s"',
  async (host) => {
    const at = await start();
    const answer = await askApi(at, '/api/v1/stats', { headers: { host } });
    expect(answer).toMatchObject({ status: 403, body: { type: '/problems/host-refused' } });
  },
);

test('the listener is asked by localhost, by its addresses and by the names in management.hosts', async () => {
  const at = await start({ hosts: ['mirror.test'] });
  for (const host of ['localhost', 'LOCALHOST:5001', '[::1]:5001', '10.0.0.7', 'mirror.test', 'Mirror.test:5001']) {
    expect(await askApi(at, '/api/v1/stats', { headers: { host } })).toMatchObject({ status: 200 });
  }
});

test('a page of another site is refused, whatever token it has', async () => {
  const at = await start();
  const own = `http://127.0.0.1:${at.port}`;
  const refused = { status: 403, body: { type: '/problems/origin-refused' } };
  for (const origin of ['http://evil.test', 'null', `${own}0`, 'http://127.0.0.1']) {
    expect(await askApi(at, '/api/v1/reload', { method: 'POST', token, headers: { origin } })).toMatchObject(refused);
  }
  for (const site of ['cross-site', 'same-site']) {
    const headers = { 'sec-fetch-site': site };
    expect(await askApi(at, '/api/v1/stats', { token, headers })).toMatchObject(refused);
  }
  expect((await askApi(at, '/api/v1/stats', { headers: { origin: own } })).status).toBe(200);
  expect((await askApi(at, '/api/v1/stats', { headers: { 'sec-fetch-site': 'same-origin' } })).status).toBe(200);
});

test('an unknown path, a wrong method and an unknown parameter are problems', async () => {
  const at = await start();
  expect(await askApi(at, '/api/v1/nothing')).toMatchObject({ status: 404, body: { type: '/problems/unknown-path' } });
  expect(await askApi(at, '/api/v2/stats')).toMatchObject({ status: 404 });
  const wrong = await askApi(at, '/api/v1/stats', { method: 'PUT', token });
  expect(wrong).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } });
  expect(await askApi(at, '/api/v1/stats?limit=1')).toMatchObject({
    status: 400,
    body: { type: '/problems/invalid-request', detail: expect.stringContaining('limit') },
  });
});

const post = (body: string | Buffer, headers: Readonly<Record<string, string>> = json) =>
  ({ method: 'POST', token, body, headers }) as const;

test('a body that is no JSON, or not said to be, is refused', async () => {
  const at = await start();
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  expect(await askApi(at, '/api/v1/reload', post('a=1', form))).toMatchObject({ status: 415 });
  expect(await askApi(at, '/api/v1/reload', post('{}', { 'content-type': 'text/plain' }))).toMatchObject({
    status: 415,
  });
  expect(await askApi(at, '/api/v1/reload', post('{"a"'))).toMatchObject({ status: 400 });
  expect(await askApi(at, '/api/v1/reload', post('{"a":1}'))).toMatchObject({ status: 400 });
  // Nothing reloads in this app: it got as far as that.
  expect(await askApi(at, '/api/v1/reload', post('{}'))).toMatchObject({ status: 503 });
});

test('a body above 64 KiB is refused, also one that does not say its length; nothing of the rest is read', async () => {
  const at = await start();
  const large = Buffer.alloc(64 * 1024 + 1, ' ');
  const tooLarge = { status: 413, headers: { connection: 'close' }, body: { type: '/problems/too-large' } };
  expect(await askApi(at, '/api/v1/reload', post(large))).toMatchObject(tooLarge);
  const chunked = { ...json, 'transfer-encoding': 'chunked' };
  expect(await askApi(at, '/api/v1/reload', post(large, chunked))).toMatchObject(tooLarge);
  const fits = Buffer.concat([Buffer.from('{}'), Buffer.alloc(64 * 1024 - 2, ' ')]);
  expect(await askApi(at, '/api/v1/reload', post(fits, chunked))).toMatchObject({ status: 503 });
});

test('a request without Host is refused', async () => {
  const at = await start();
  const socket = connect(Number(at.port), '127.0.0.1');
  socket.end('GET /api/v1/stats HTTP/1.1\r\n\r\n');
  expect(await text(socket)).toMatch(/^HTTP\/1\.1 403 /);
});
