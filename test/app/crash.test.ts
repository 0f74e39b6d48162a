import { writeFile } from 'node:fs/promises';
import { setTimeout as passed } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { failpoints } from '../../src/storage/filesystem/failpoints.ts';
import { pump } from '../support/fake-answer.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type Image, image, randomBytes } from '../support/images.ts';
import { partialDownloads } from '../support/partial-downloads.ts';
import { pullAll, pullBlob, pullManifest } from '../support/pull.ts';
import { mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';
import { type StoreOnDisk, storeOnDisk } from '../support/store-on-disk.ts';

const repository = 'library/app';

/** After a SIGKILL: starts again without an upstream, then with one, and then without one again. @returns what the killed run left, and how much of it was served. */
async function expectRecovery(
  mirror: RunningMirror,
  upstream: FakeRegistry,
  tag: string,
): Promise<{ readonly left: StoreOnDisk; readonly served: number }> {
  upstream.refuseConnections(true);
  const left = await storeOnDisk(mirror.dataDirectory);
  expect([...left.blobs].filter(([, { isWhole }]) => !isWhole)).toEqual([]);
  await mirror.restart();
  // The mirror's own state passes through incoming/ too, at moments of its own.
  await expect.poll(() => partialDownloads(mirror.dataDirectory)).toMatchObject({ others: [] });
  const { left: goneOnWith } = await partialDownloads(mirror.dataDirectory);
  expect(goneOnWith.filter(({ matchesCheckpoint }) => !matchesCheckpoint)).toEqual([]);
  const served = await expectServed(mirror, left);
  // Until it is known again what may be evicted, a full store takes nothing new.
  await mirror.logged(({ msg, state }) => msg === 'index' && state === 'rebuilt');

  upstream.refuseConnections(false);
  await pullAll(mirror, repository, tag);
  upstream.refuseConnections(true);
  await pullAll(mirror, repository, tag);
  upstream.refuseConnections(false);
  const metrics = await mirror.metrics();
  expect(metrics.sum('layerwell_cache_corruptions_total')).toBe(0);
  expect(metrics.sum('layerwell_internal_errors_total')).toBe(0);
  return { left, served };
}

/** Whatever has its bytes and its record is served without the upstream. @returns how much that was. */
async function expectServed(mirror: RunningMirror, { blobs, records }: StoreOnDisk): Promise<number> {
  const whole = records.flatMap((key) =>
    (key.kind === 'blob' || key.kind === 'manifest') && blobs.has(key.digest) ? [key] : [],
  );
  for (const { kind, repositoryId, digest } of whole) {
    const pull = kind === 'blob' ? pullBlob : pullManifest;
    expect((await pull(mirror, repositoryId.repository, digest)).cache).toBe('hit');
  }
  return whole.length;
}

async function expectRecoveryFrom(
  step: string,
  ask: (mirror: RunningMirror, app: Image) => Promise<unknown>,
): Promise<void> {
  const upstream = await startFakeRegistry();
  const app = image({ layerBytes: 1024 * 1024 });
  upstream.content.add(repository, '1', app);
  const mirror = await startMirror(mirrorOf(upstream), { env: { LAYERWELL_FAILPOINT: step } });

  await ask(mirror, app).catch(() => {}); // It dies while it answers, or soon after.
  expect(await mirror.exited).toEqual({ code: null, signal: 'SIGKILL' });
  await expectRecovery(mirror, upstream, '1');
}

test.each(failpoints)('SIGKILL at %s while a layer is stored leaves nothing half done', async (step) => {
  await expectRecoveryFrom(step, (mirror, { blobs }) => pullBlob(mirror, repository, blobs[1]!.digest));
});

test.each(failpoints)('SIGKILL at %s while a manifest is stored leaves nothing half done', async (step) => {
  await expectRecoveryFrom(step, (mirror) => pullManifest(mirror, repository, '1'));
});

/** `npm run crash` asks for more of them, and for the figures. */
const moments = Number(process.env['CRASH_MOMENTS'] ?? 25);
const report = process.env['CRASH_REPORT'];
/** Room for a few of the pulled images, so that some kills hit an eviction. */
const storage = { maxSize: '16MiB', minFree: '0B' };

/** A whole pull takes about so long. */
const maxDelayMs = 120;
const tagOf = (moment: number): string => `v${moment}`;
/** From 0 to 1, the same at every run. */
const chance = (...seed: readonly unknown[]): number => randomBytes(4, seed.join(' ')).readUInt32BE() / 2 ** 32;

function imageFor(moment: number): Image {
  return image({
    name: `app ${moment}`,
    layers: 2,
    layerBytes: Math.round((0.5 + 1.5 * chance('size', moment)) * 1024 * 1024),
  });
}

/** How far the pull had come, by what it left on the disk. */
function stageOf({ manifest, blobs }: Image, left: StoreOnDisk): string {
  const parts = [manifest, ...blobs].map(({ digest }) => digest);
  const visible = parts.filter((digest) => left.blobs.has(digest)).length;
  if (left.incoming.length > 0) return 'while a file was being written';
  return visible === 0
    ? 'before anything was stored'
    : visible < parts.length
      ? 'between two files'
      : 'after everything was stored';
}

/** Begins a pull of which the upstream sends a part, or all, and kills the mirror while that arrives or soon after. */
async function killDuringPull(mirror: RunningMirror, upstream: FakeRegistry, moment: number): Promise<Image> {
  const app = imageFor(moment);
  upstream.content.add(repository, tagOf(moment), app);
  const size = app.blobs.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const flow = pump();
  flow.release(Math.round(1.5 * size * chance('bytes', moment)));
  upstream.script({ path: /\/blobs\// }, { pump: flow });
  const pull = pullAll(mirror, repository, tagOf(moment)).catch(() => {});
  await passed(maxDelayMs * chance('delay', moment));
  await mirror.kill();
  await pull;
  upstream.clearScripts();
  return app;
}

test(`SIGKILL at any of ${moments} moments of a pull leaves nothing half done`, {
  timeout: moments * 10_000,
}, async () => {
  const upstream = await startFakeRegistry();
  const mirror = await startMirror(mirrorOf(upstream, { storage }));
  const stages = new Map<string, number>();
  const startedAt = performance.now();
  let served = 0;
  for (let moment = 0; moment < moments; moment += 1) {
    const app = await killDuringPull(mirror, upstream, moment);
    try {
      const recovered = await expectRecovery(mirror, upstream, tagOf(moment));
      served += recovered.served;
      const stage = stageOf(app, recovered.left);
      stages.set(stage, (stages.get(stage) ?? 0) + 1);
    } catch (cause) {
      throw new Error(`after moment ${moment}: ${String(cause)}`, { cause });
    }
  }
  const durationMs = performance.now() - startedAt;
  const figures = { moments, durationMs, served, stages: Object.fromEntries(stages) };
  if (report !== undefined) await writeFile(report, JSON.stringify(figures));
});
