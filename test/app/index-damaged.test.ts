import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test, vi } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { type Content, image, randomBlob } from '../support/images.ts';
import { get, pullAll, pullBlob } from '../support/pull.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const mib = 1024 * 1024;
const maxBytes = 64 * mib;
const pollOptions = { timeout: 20_000 };

/** Makes the index larger than what SQLite keeps of it in memory, with links to content that is not there. */
function fillIndex(file: string): void {
  const database = new DatabaseSync(file);
  database.exec(`
    WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 120000)
    INSERT INTO links (digest, repository, kind, kept, seen)
      SELECT 'sha256:' || lower(hex(randomblob(32))), 'docker.io/filler', 'blob', 0, rebuild FROM count, state`);
  database.close();
}

/** Writes garbage over all of the file but its first page. */
async function damage(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  const { size } = await handle.stat();
  await handle.write(Buffer.alloc(size - 4096, 'garbage'), 0, size - 4096, 4096);
  await handle.close();
}

async function bytesBelow(path: string): Promise<number> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const found = await Promise.all(files.map((file) => stat(file).catch(() => ({ size: 0 }))));
  return found.reduce((sum, { size }) => sum + size, 0);
}

async function indexState(app: RunningApp): Promise<unknown> {
  const answer = await fetch(`${app.managementUrl}/readyz`);
  return Object(await answer.json())['index'];
}

/** A mirror that has one image, whose index is then damaged while it runs. */
async function damagedWhileRunning(blobs: readonly Content[]): Promise<RunningApp> {
  const upstream = await startFakeRegistry();
  const kept = image({ name: 'kept' });
  upstream.content.add('team/kept', '1', kept);
  upstream.content.add('team/blobs', '1', { ...kept, blobs });
  const app = await startApp(mirrorOf(upstream, { storage: { minFree: '0B', maxSize: '64MiB' } }));
  await pullAll(app, 'team/kept', '1');
  await app.quiet();
  await app.stop();
  const file = join(app.dataDirectory, 'index.sqlite');
  fillIndex(file);
  await app.restart();
  expect(await indexState(app)).toBe('ok');
  await damage(file);
  return app;
}

test('an index that is damaged while the mirror runs is detected, reported and rebuilt, and the store keeps its bound', async () => {
  const blobs = Array.from({ length: 40 }, (_, number) => randomBlob(4 * mib, `blob ${number}`));
  const app = await damagedWhileRunning(blobs);
  let mostBytes = 0;
  for (const { digest } of blobs) {
    app.clock.advance(1_000);
    await pullBlob(app, 'team/blobs', digest);
    mostBytes = Math.max(mostBytes, await bytesBelow(join(app.dataDirectory, 'blobs')));
  }
  await app.quiet();
  const losses = app.logLines.filter(({ msg, state }) => msg === 'index' && state === 'rebuilding');
  expect(losses.at(-1)).toMatchObject({ reason: expect.stringMatching(/malformed|not a database/) });
  await vi.waitUntil(async () => (await indexState(app)) === 'ok', pollOptions);
  await app.quiet();

  expect(mostBytes).toBeLessThan(maxBytes + 8 * mib);
  expect(await bytesBelow(app.dataDirectory)).toBeLessThan(maxBytes + 8 * mib);
  const onDisk = () => bytesBelow(join(app.dataDirectory, 'blobs', 'sha256'));
  await vi.waitUntil(async () => (await app.metrics()).sum('layerwell_cache_bytes') === (await onDisk()), pollOptions);
  expect((await get(app, '/v2/team/kept/manifests/1')).status).toBe(200);
  await app.stop();
  await app.restart();
  expect(await indexState(app)).toBe('ok');
}, 60_000);
