import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { ask, open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { randomBlob } from '../support/images.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';

const mebibyte = 1024 * 1024;

/** What a process holds of the machine's memory: `proc(5)`, `VmRSS`. */
async function residentBytes(pid: number): Promise<number> {
  const [, kibibytes] = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kibibytes) * 1024;
}

test('two hundred stalled clients of a large blob cost their buffers, not the blob, and delay no other client', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(32 * mebibyte);
  upstream.content.addBlob('library/app', blob);
  const mirror = await startMirror(mirrorOf(upstream, { download: { bufferBudget: '32MiB' } }));
  const path = `/v2/library/app/blobs/${blob.digest}`;
  await ask(mirror, path);
  const before = await residentBytes(mirror.pid);
  const readers = await Promise.all(Array.from({ length: 200 }, () => open(mirror, path)));
  for (const reader of readers) {
    await reader.read(1);
    reader.pause();
  }
  expect((await ask(mirror, path)).body.equals(blob.bytes)).toBe(true);
  // 32 MiB of budget, and 16 KiB for each reader beyond it; the rest is what the process needs for two hundred connections.
  expect((await residentBytes(mirror.pid)) - before).toBeLessThan(128 * mebibyte);
  for (const reader of readers) reader.hangUp();
});
