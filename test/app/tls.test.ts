import { once } from 'node:events';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { expect, onTestFinished, test, vi } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { freePort } from '../support/free-port.ts';
import { mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { selfSigned } from '../unit/upstream/certificates.ts';

const repository = 'library/app';
const built = image({ layerBytes: 500_000 });
const layer = built.blobs[1] ?? built.manifest;
const path = `/v2/${repository}/blobs/${layer.digest}`;

/** A mounted secret: files behind a symbolic link, which a renewal switches. */
class MountedSecret {
  readonly certFile: string;
  readonly keyFile: string;
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.certFile = join(folder, 'now', 'tls.crt');
    this.keyFile = join(folder, 'now', 'tls.key');
  }

  async renew(name: string): Promise<void> {
    const { certificate, key } = await selfSigned(name);
    await this.mount(name, { 'tls.crt': certificate, 'tls.key': key });
  }

  async mount(name: string, files: Readonly<Record<string, string>>): Promise<void> {
    const version = join(this.#folder, name);
    await mkdir(version);
    for (const [file, text] of Object.entries(files)) await writeFile(join(version, file), text);
    await symlink(version, `${version}.link`);
    await rename(`${version}.link`, join(this.#folder, 'now'));
  }
}

/** Asks on a connection of its own. @returns its answer, and the name in the certificate it was shown. */
async function askOverTls(
  url: string,
  asked: string,
): Promise<{ readonly answer: IncomingMessage; readonly certificate: unknown }> {
  const question = request(`${url}${asked}`, { agent: false, rejectUnauthorized: false });
  question.end();
  const [answer]: IncomingMessage[] = await once(question, 'response');
  if (!(answer?.socket instanceof TLSSocket)) throw new Error('the answer did not come over TLS');
  return { answer, certificate: answer.socket.getPeerCertificate().subject.CN };
}

/** Connects, asks `/v2/`, and waits for a ticket. @returns it, and whether the handshake was an abbreviated one. */
async function session(
  port: number,
  options: { readonly session?: Buffer | undefined; readonly maxVersion?: 'TLSv1.2' } = {},
) {
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options });
  onTestFinished(() => void socket.destroy());
  let ticket: Buffer | undefined;
  socket.on('session', (bytes) => (ticket = bytes));
  await once(socket, 'secureConnect');
  const isResumed = socket.isSessionReused();
  socket.write('GET /v2/ HTTP/1.1\r\nHost: mirror.test\r\n\r\n');
  const [answer] = await once(socket, 'data');
  socket.destroy();
  return { ticket, isResumed, status: String(answer).slice(9, 12) };
}

async function started() {
  const secret = new MountedSecret(await temporaryDirectory());
  await secret.renew('first');
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', built);
  const { certFile, keyFile } = secret;
  const port = await freePort();
  const listen = { host: '127.0.0.1', port, tls: { certFile, keyFile } };
  const mirror: RunningMirror = await startMirror(mirrorOf(upstream, { listen, shutdown: { drain: '300ms' } }));
  return { secret, upstream, mirror, port, url: `https://127.0.0.1:${port}` };
}

test('a mirror serves over TLS, and uses a renewed certificate without a restart, while a download and sessions continue', async () => {
  const { secret, upstream, mirror, port, url } = await started();
  const rest = gate();
  upstream.script({ path: /blobs/ }, { holdBody: { afterBytes: 200_000, until: rest } });
  const running = await askOverTls(url, path);
  const body = buffer(running.answer);
  expect(running.certificate).toBe('first');
  const versions = [{}, { maxVersion: 'TLSv1.2' as const }];
  const sessions = await Promise.all(versions.map((version) => session(port, version)));

  await secret.renew('second');
  await vi.waitUntil(async () => (await askOverTls(url, '/v2/')).certificate === 'second', { timeout: 20_000 });
  for (const [index, { ticket, isResumed }] of sessions.entries()) {
    expect(isResumed).toBe(false);
    const again = await session(port, { ...versions[index], session: ticket });
    expect(again).toMatchObject({ isResumed: true, status: '200' });
  }
  rest.open();
  expect((await body).equals(layer.bytes)).toBe(true);

  await secret.mount('broken', { 'tls.crt': 'no certificate', 'tls.key': 'no key' });
  await mirror.logged((line) => JSON.stringify(line).includes('are not a certificate and its key'));
  expect((await askOverTls(url, '/v2/')).certificate).toBe('second');
});

test('a client that never completes the TLS handshake does not delay shutdown beyond the deadline', async () => {
  const { mirror, port } = await started();
  const silent = connect({ host: '127.0.0.1', port }).on('error', () => {}); // It is reset.
  onTestFinished(() => void silent.destroy());
  await once(silent, 'connect');
  mirror.send('SIGTERM');
  expect(await mirror.exited).toEqual({ code: 0, signal: null });
});

test('clients whose handshake fails are counted, and one that leaves is not', async () => {
  const { mirror, port } = await started();
  const failures = async () => (await mirror.metrics()).sum('layerwell_http_rejected_total', { reason: 'tls' });
  const place = { host: '127.0.0.1', port };
  const plain = connect(place, () => void plain.write('GET /v2/ HTTP/1.1\r\nHost: mirror.test\r\n\r\n'));
  plain.on('error', () => {}); // It may be reset.
  const leaves = connect(place, () => leaves.resetAndDestroy());
  await Promise.all([once(plain, 'close'), once(leaves, 'close')]);
  await expect.poll(failures).toBe(1);
  await once(connectTls({ ...place, ALPNProtocols: ['h2'], rejectUnauthorized: false }), 'error');
  await expect.poll(failures).toBe(2);
});
