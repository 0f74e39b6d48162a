import { appendFile, rm } from 'node:fs/promises';
import { setTimeout as passed } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { image, randomBytes } from '../support/images.ts';
import { differences } from '../support/index-and-disk.ts';
import { writeLargeStore } from '../support/large-store.ts';
import { pullAll } from '../support/pull.ts';
import { mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';

const repository = 'library/app';
/** `npm run crash:large` asks for more, with a larger store, and for the figures. */
const kills = Number(process.env['CRASH_KILLS'] ?? 2);
const blobs = Number(process.env['CRASH_BLOBS'] ?? 500);
const report = process.env['CRASH_LARGE_REPORT'];
/** What is run: by default the source. */
const program = process.env['CRASH_PROGRAM'];
const options = program === undefined ? {} : { program };
/** After which the view is to be complete. A machine that is busy takes its time; the report says how long it took. */
const completeWithinMs = Number(process.env['CRASH_COMPLETE_MS'] ?? 20_000);

/** From 0 to 1, the same at every run. */
const chance = (...seed: readonly unknown[]): number => randomBytes(4, seed.join(' ')).readUInt32BE() / 2 ** 32;
const layers = 9;

/** Behind the back of a mirror that was stopped: its index is to be made anew. */
async function fillStore(mirror: RunningMirror): Promise<void> {
  for (const end of ['', '-wal', '-shm']) await rm(`${mirror.dataDirectory}/index.sqlite${end}`, { force: true });
  const images = Math.round(blobs / (layers + 1));
  writeLargeStore(mirror.dataDirectory, { images, layers, repositories: Math.ceil(images / 10) });
}

/** So many bytes, in whole blocks, that every pull into the filled store evicts. */
const maxSize = `${Math.round((blobs * 2.1 * 4096) / 1024)}KiB`;

/** Pulls a few images at the same time, and kills the mirror meanwhile or a moment later. */
async function killDuringPulls(mirror: RunningMirror, upstream: FakeRegistry, kill: number): Promise<void> {
  const tags = [0, 1, 2].map((number) => `v${kill}-${number}`);
  for (const tag of tags) upstream.content.add(repository, tag, image({ name: tag, layers: 4, layerBytes: 60_000 }));
  upstream.content.add(repository, 'moving', image({ name: `moving ${kill}`, layers: 1, layerBytes: 5_000 }));
  const pulls = [...tags, 'moving'].map((tag) => pullAll(mirror, repository, tag).catch(() => {}));
  await passed(600 * chance('delay', kill));
  await mirror.kill();
  await Promise.all(pulls);
}

/** @returns milliseconds from the start of the process until its view was complete, and until it listened. */
async function timedStart(
  mirror: RunningMirror,
): Promise<{ readonly completeMs: number; readonly listeningMs: number }> {
  const startedAt = performance.now();
  await mirror.start(mirror.config, options);
  const listeningMs = performance.now() - startedAt;
  await mirror.logged(({ msg, state }) => msg === 'index' && state === 'rebuilt');
  return { completeMs: performance.now() - startedAt, listeningMs };
}

test(`SIGKILL at any of ${kills} moments of pulls into a full store costs seconds: index and disk are equal soon after`, {
  timeout: 60_000 + blobs * 5 + kills * 30_000,
}, async () => {
  const upstream = await startFakeRegistry();
  const mirror = await startMirror(mirrorOf(upstream, { storage: { maxSize, minFree: '0B' } }));
  await mirror.stop();
  await fillStore(mirror);
  await mirror.start(mirror.config, options);
  const isRebuilt = () => mirror.logLines().some(({ msg, state }) => msg === 'index' && state === 'rebuilt');
  await vi.waitUntil(isRebuilt, { timeout: 20_000 + blobs * 5 });
  for (let kill = 0; kill < kills; kill += 1) {
    await killDuringPulls(mirror, upstream, kill);
    const { completeMs, listeningMs } = await timedStart(mirror);
    expect(completeMs, `kill ${kill}`).toBeLessThan(completeWithinMs);
    const reasons = mirror.logLines().flatMap(({ msg, reason }) => (msg === 'index' && reason ? [reason] : []));
    expect(reasons, `kill ${kill}`).toEqual(['its process ended without closing it']);
    const metrics = await mirror.metrics();
    expect(metrics.sum('layerwell_internal_errors_total')).toBe(0);
    await mirror.stop();
    expect(await differences(mirror.dataDirectory), `kill ${kill}`).toEqual([]);
    await mirror.start(mirror.config, options);
    const line = { kill, blobs, completeMs, listeningMs };
    if (report !== undefined) await appendFile(report, `${JSON.stringify(line)}\n`);
  }
});
