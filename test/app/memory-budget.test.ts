import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { ask, open, type OpenAnswer } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { gate } from '../support/gate.ts';
import { content } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';

const mebibyte = 1024 * 1024;

/** What a process holds of the machine's memory, and the most it held since {@link measureFromNow}: `proc(5)`. */
async function memoryOf({ pid }: Pick<RunningMirror, 'pid'>): Promise<{ readonly now: number; readonly peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const bytesOf = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024;
  return { now: bytesOf('VmRSS'), peak: bytesOf('VmHWM') };
}

async function measureFromNow({ pid }: RunningMirror): Promise<number> {
  await writeFile(`/proc/${pid}/clear_refs`, '5');
  return (await memoryOf({ pid })).now;
}

/** A registry of content that is too large to be kept twice: a beginning of its own for each, and one end for all. */
async function startLargeRegistry(
  kind: 'blobs' | 'manifests',
  mediaType: string,
  contents: readonly (readonly Uint8Array[])[],
): Promise<{ readonly url: string; readonly paths: readonly string[] }> {
  const byPath = new Map(
    contents.map((pieces) => [`/v2/library/app/${kind}/${digestOf(Buffer.concat(pieces))}`, pieces]),
  );
  const answer = ({ url = '', method }: IncomingMessage, response: ServerResponse): void => {
    const pieces = byPath.get(url);
    if (!pieces) return void response.writeHead(url === '/v2/' ? 200 : 404).end();
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    response.writeHead(200, { 'Content-Length': bytes, 'Content-Type': mediaType });
    if (method !== 'HEAD') for (const piece of pieces) response.write(piece);
    response.end();
  };
  const port = await freePort();
  const server = createServer(answer).listen(port, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${port}`, paths: [...byPath.keys()] };
}

async function stalledReader(mirror: RunningMirror, path: string): Promise<OpenAnswer> {
  const reader = await open(mirror, path);
  reader.pause();
  onTestFinished(() => reader.hangUp());
  return reader;
}

test('sixty downloads with stalled clients cost the memory budget, not the blobs', async () => {
  const end = Buffer.alloc(12 * mebibyte, 'layer ');
  const contents = Array.from({ length: 60 }, (_, index) => [Buffer.alloc(1_024, `blob ${index} `), end]);
  const upstream = await startLargeRegistry('blobs', 'application/octet-stream', contents);
  const mirror = await startMirror(mirrorOf(upstream, { download: { bufferBudget: '16MiB' } }));
  await ask(mirror, upstream.paths[0] ?? '');
  const before = await measureFromNow(mirror);
  await Promise.all(upstream.paths.map((path) => stalledReader(mirror, path)));
  await expect
    .poll(async () => (await mirror.metrics()).sum('layerwell_cache_fills_total'), { timeout: 25_000, interval: 200 })
    .toBe(60);
  const { peak } = await memoryOf(mirror);
  // Measured: 37 MiB with the budget, 179 MiB with a bound per download only.
  expect(peak - before).toBeLessThan(100 * mebibyte);
});

test('four hundred clients that do not read forty large manifests cost the memory budget, not the manifests', async () => {
  const pad = Buffer.from(`${'x'.repeat(3_900_000)}"}}`);
  const manifest = (index: number) =>
    Buffer.from(`{"schemaVersion":2,"mediaType":"${ociManifest}","layers":[],"annotations":{"nr":"${index}","pad":"`);
  const contents = Array.from({ length: 40 }, (_, index) => [manifest(index), pad]);
  const upstream = await startLargeRegistry('manifests', ociManifest, contents);
  const mirror = await startMirror(mirrorOf(upstream, { download: { bufferBudget: '64MiB' } }));
  for (const path of upstream.paths) await ask(mirror, path);
  const before = await measureFromNow(mirror);
  const crowd = Array.from({ length: 400 }, (_, index) => stalledReader(mirror, upstream.paths[index % 40] ?? ''));
  const readers = await Promise.all(crowd);
  expect(new Set(readers.map(({ status }) => status))).toEqual(new Set([200]));
  const { peak } = await memoryOf(mirror);
  // Measured: 65 to 100 MiB with the budget, 390 MiB without.
  expect(peak - before).toBeLessThan(200 * mebibyte);
  expect((await mirror.metrics()).sum('layerwell_memory_reserved_bytes')).toBeLessThanOrEqual(64 * mebibyte);
  for (const reader of readers) reader.hangUp();
  await expect.poll(async () => (await mirror.metrics()).sum('layerwell_memory_reserved_bytes')).toBe(0);
}, 180_000);

test('large manifests that one upstream never finishes take no memory from those of another upstream', async () => {
  const [honest, silent] = [await startFakeRegistry(), await startFakeRegistry()];
  const manifestOf = (name: string) =>
    content(
      ociIndex,
      Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [], name, pad: 'x'.repeat(3_500_000) })),
    );
  const hanging = Array.from({ length: 12 }, (_, index) => manifestOf(`hanging ${index}`));
  for (const manifest of hanging) silent.content.addManifest('library/app', manifest);
  silent.script({ path: /manifests/ }, { holdBody: { afterBytes: 100_000, until: gate() } });
  const wanted = manifestOf('wanted');
  honest.content.addManifest('library/app', wanted);
  const upstreams = { 'docker.io': { url: honest.url }, 'silent.test': { url: silent.url } };
  const app = await startApp({ defaultUpstream: 'docker.io', upstreams, download: { bufferBudget: '16MiB' } });
  const waiting = hanging.map(({ digest }) =>
    ask(app, `/v2/library/app/manifests/${digest}?ns=silent.test`).catch(() => 'cut'),
  );
  await silent.arrived('GET', /manifests/, 12);
  await expect
    .poll(async () => (await app.metrics()).sum('layerwell_memory_reserved_bytes'))
    .toBeGreaterThan(3_500_000);
  const answer = await ask(app, `/v2/library/app/manifests/${wanted.digest}`);
  expect(answer.body.equals(wanted.bytes)).toBe(true);
  await app.stop(0);
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(['cut']));
});
