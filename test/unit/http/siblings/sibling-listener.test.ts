import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { Certificate } from '../../../../src/http/server/certificate.ts';
import { SecretCheck } from '../../../../src/http/siblings/secret-check.ts';
import { servedOutcome } from '../../../../src/http/siblings/sibling-app.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { makeCertificateFiles } from '../../../support/certificate-files.ts';
import { ask, open } from '../../../support/client.ts';
import { randomBytes } from '../../../support/images.ts';
import { sendRaw } from '../../../support/raw-request.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { app, secret, startSiblings, waiting } from '../../cluster/start-siblings.ts';
import { heldBlob, previousSecret, startListener } from './start-listener.ts';

const bytes = randomBytes(32 * 1024 * 1024, 'blob');
const digest = digestOf(bytes);
const authorization = `Bearer ${secret}`;
const path = `/v1/docker.io/library/app/blobs/${digest}`;

/** A replica that has the blob, and counts how often it is looked for. */
async function startHolding(options: Omit<Parameters<typeof startListener>[0] & object, 'held'> = {}) {
  const looked = { count: 0 };
  const blob = async () => {
    looked.count += 1;
    return heldBlob(bytes);
  };
  return { ...(await startListener({ ...options, held: { blob } })), looked };
}

test.each([
  { what: 'no secret', headers: {} },
  { what: 'a wrong secret', headers: { authorization: `Bearer ${secret}x` } },
  { what: 'the beginning of the secret', headers: { authorization: `Bearer ${secret.slice(0, -1)}` } },
  { what: 'an empty secret', headers: { authorization: 'Bearer ' } },
  { what: 'the secret by another scheme', headers: { authorization: `Basic ${secret}` } },
  { what: 'a secret of 16 KB', headers: { authorization: `Bearer ${'a'.repeat(16_000)}` } },
])('a request with $what is refused before anything of it is looked at', async ({ headers }) => {
  const replica = await startHolding();
  const answers = [];
  for (const asked of [path, '/v1/', '/nonsense', '/v1/docker.io/library/other/tags/1'])
    for (const method of ['GET', 'POST']) answers.push(await ask(replica, asked, { method, headers }));
  for (const answer of answers) {
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBeUndefined();
    expect(answer.headers['connection']).toBe('close');
    expect(answer.body.equals(answers[0]?.body ?? Buffer.alloc(0))).toBe(true);
  }
  expect(replica.looked.count).toBe(0);
  expect(new Set(replica.observer.siblingsServed)).toEqual(new Set(['other refused']));
});

test('while secrets are rotated, two are accepted', async () => {
  const replica = await startHolding();
  const statusWith = async (used: string) =>
    (await ask(replica, '/v1/', { headers: { authorization: `Bearer ${used}` } })).status;
  expect([await statusWith(secret), await statusWith(previousSecret)]).toEqual([200, 200]);
  replica.secrets.follow({ secret: 'the next secret, which is long enough too', previousSecret: secret });
  expect([await statusWith(secret), await statusWith(previousSecret)]).toEqual([200, 401]);
  expect(await statusWith('the next secret, which is long enough too')).toBe(200);
});

test('before there is a secret, none is accepted', () => {
  const check = new SecretCheck({ secret: '' });
  for (const wrong of ['', 'a', secret]) expect(check.accepts(wrong)).toBe(false);
});

test('a secret of any length is compared', () => {
  const check = new SecretCheck({ secret });
  for (const wrong of ['', 'a', `${secret} `, secret.repeat(100)]) expect(check.accepts(wrong)).toBe(false);
  expect(check.accepts(secret)).toBe(true);
});

test('a replica says who it is to those that have the secret', async () => {
  const { body } = await ask(await startListener(), '/v1/', { headers: { authorization } });
  expect(JSON.parse(body.toString())).toEqual({ replica: 'replica-1' });
});

test('a replica with another secret is told so, and counts', async () => {
  const { url, observer } = await startListener();
  const { siblings } = startSiblings([url], { trust: { secret: 'another secret, which is long enough' } });
  await expect.poll(() => siblings.refusedBy).toEqual([url]);
  expect(observer.siblingsServed).toEqual(['other refused']);
});

test('replicas with TLS trust the certificates of their CA file, and no others', async () => {
  const files = await makeCertificateFiles(await temporaryDirectory(), 'replica');
  const { url } = await startHolding({ certificate: new Certificate(files, { report: () => {} }) });
  const ca = await readFile(files.certFile, 'utf8');
  const trusting = startSiblings([url], { trust: { secret, ca } });
  const opened = await trusting.at(url).openBlob(app, digest, waiting);
  expect(opened && (await buffer(opened.body)).equals(bytes)).toBe(true);
  const other = startSiblings([url]);
  await expect(other.at(url).openBlob(app, digest, waiting)).rejects.toMatchObject({ reason: 'tls' });
  other.siblings.rely({ secret, ca });
  expect(await other.at(url).openBlob(app, digest, waiting)).toMatchObject({ size: bytes.length });
});

/** So many connections, which say nothing. */
async function connections(url: string, count: number): Promise<readonly Socket[]> {
  const sockets = Array.from({ length: count }, () => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('error', () => {}); // A reset is an end as well.
    onTestFinished(() => void socket.destroy());
    return socket;
  });
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  return sockets;
}

test('five hundred connections leave the listener able to answer, and those above its limits are refused', async () => {
  const replica = await startHolding({ maxConnections: 50 });
  const held = await connections(replica.url, 50);
  const refused = await ask(replica, path, { headers: { authorization } });
  expect(refused.status).toBe(503);
  expect(refused.headers['retry-after']).toBe('2');
  const more = await connections(replica.url, 450);
  await expect.poll(() => more.filter(({ destroyed }) => destroyed).length).toBeGreaterThanOrEqual(350);
  for (const socket of [...held, ...more]) socket.destroy();
  await expect.poll(async () => (await ask(replica, '/v1/', { headers: { authorization } })).status).toBe(200);
  expect(replica.observer.siblingsServed).toContain('other rejected');
});

test('requests above the limit get 503 with Retry-After', async () => {
  const replica = await startHolding({ maxRequests: 2 });
  const running = [await open(replica, path, { headers: { authorization } })];
  running.push(await open(replica, path, { headers: { authorization } }));
  for (const one of running) one.pause();
  const refused = await ask(replica, path, { headers: { authorization } });
  expect([refused.status, refused.headers['retry-after']]).toEqual([503, '2']);
  for (const one of running) one.hangUp();
  await expect.poll(async () => (await ask(replica, '/v1/', { headers: { authorization } })).status).toBe(200);
});

test('siblings that read nothing are disconnected, and hold little memory until then', async () => {
  const replica = await startHolding({ idleTimeoutMs: 3_000 });
  const stalled = await connections(replica.url, 40);
  for (const socket of stalled) {
    socket.pause();
    socket.write(`GET ${path} HTTP/1.1\r\nHost: replica\r\nAuthorization: ${authorization}\r\n\r\n`);
  }
  await expect.poll(() => replica.looked.count).toBe(40);
  expect(replica.buffers.usedBytes).toBeLessThanOrEqual(replica.memory.maxBytes / 2);
  await expect.poll(() => replica.buffers.usedBytes).toBe(0);
  await expect.poll(() => replica.observer.siblingsServed.filter((event) => event === 'blob cut').length).toBe(40);
  expect(replica.bugs).toEqual([]);
});

test('a request that is malformed is answered, and its connection closed', async () => {
  const { url } = await startListener();
  const [answer] = await sendRaw(new URL(url).host, 'GET /v1/ HTTP/1.1\r\nBad Header\r\n\r\n');
  expect(answer?.status).toBe(400);
});

test('a listener that drains accepts nothing more, and resets at the end what still runs', async () => {
  const replica = await startHolding();
  const { at } = startSiblings([replica.url]);
  const opened = await at(replica.url).openBlob(app, digest, waiting);
  if (!opened) throw new Error('not there');
  replica.listener.stopAccepting();
  await expect(at(replica.url).openBlob(app, digest, waiting)).rejects.toMatchObject({ reason: 'connect' });
  const ending = new AbortController();
  const stopped = replica.listener.stop({ signal: ending.signal });
  ending.abort();
  await stopped;
  await expect(buffer(opened.body)).rejects.toMatchObject({ reason: 'connect' });
});

test('a listener that drains lets a sibling read to the end', async () => {
  const replica = await startHolding();
  const { at } = startSiblings([replica.url]);
  const opened = await at(replica.url).openBlob(app, digest, waiting);
  replica.listener.stopAccepting();
  const stopped = replica.listener.stop({ signal: new AbortController().signal });
  expect(opened && (await buffer(opened.body)).equals(bytes)).toBe(true);
  await stopped;
});

test.each([
  { status: 200, isComplete: true, outcome: 'ok' },
  { status: 206, isComplete: true, outcome: 'ok' },
  { status: 200, isComplete: false, outcome: 'cut' },
  { status: 404, isComplete: true, outcome: 'missing' },
  { status: 401, isComplete: true, outcome: 'refused' },
  { status: 503, isComplete: true, outcome: 'rejected' },
  { status: 416, isComplete: true, outcome: 'invalid' },
  { status: 500, isComplete: true, outcome: 'failed' },
])('an answer of $status counts as $outcome', ({ outcome, ...answer }) => {
  expect(servedOutcome(answer)).toBe(outcome);
});
