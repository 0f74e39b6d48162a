import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { blobsIn } from '../support/files-in.ts';
import { type Dice, dice, PowerLossDisk } from '../support/power-loss-disk.ts';
import { image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { RunningApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const repository = 'library/app';
const tags = ['1', '2', '3'];
/** Room for two of the three. */
const storage = { maxSize: '450KiB', minFree: '0B' };
/** `POWER_LOSSES=1000` looks at more of them. */
const losses = Number(process.env['POWER_LOSSES'] ?? 16);
/** About as many operations as the pulls make of the disk. */
const operations = 260;

async function upstreamWithImages(): Promise<FakeRegistry> {
  const upstream = await startFakeRegistry();
  for (const tag of tags) upstream.content.add(repository, tag, image({ name: `image ${tag}`, layerBytes: 180_000 }));
  return upstream;
}

/** Pulls until the power fails. @returns what is left on the disk. */
async function untilPowerFails(
  upstream: FakeRegistry,
  path: string,
  moment: number,
  fate: Dice,
): Promise<PowerLossDisk> {
  const disk = new PowerLossDisk();
  const left = disk.failPowerAfter(moment, fate);
  const app = new RunningApp(path, { files: disk });
  try {
    await app.start(mirrorOf(upstream, { storage }));
    for (const tag of [...tags, ...tags]) await pullAll(app, repository, tag);
  } catch {
    // Other tests check what clients see meanwhile.
  } finally {
    await app.end();
  }
  return left() ?? disk.afterPowerLoss(fate);
}

async function expectRecovery(upstream: FakeRegistry, path: string, files: PowerLossDisk): Promise<void> {
  const left = await blobsIn(files, path);
  expect([...left].filter(([, { isWhole }]) => !isWhole)).toEqual([]);
  const app = new RunningApp(path, { files });
  try {
    await app.start(mirrorOf(upstream, { storage }));
    for (const tag of tags) await pullAll(app, repository, tag);
    await app.quiet();
    upstream.refuseConnections(true);
    await pullAll(app, repository, '3');
    expect((await app.metrics()).sum('layerwell_cache_corruptions_total')).toBe(0);
  } finally {
    upstream.refuseConnections(false);
    await app.end();
  }
}

test(`of ${losses} moments at which the power fails, none leaves anything wrong behind`, {
  timeout: 10_000 + losses * 3_000,
}, async () => {
  const upstream = await upstreamWithImages();
  for (let loss = 0; loss < losses; loss += 1) {
    const fate = dice(`loss ${loss}`);
    const moment = Math.floor(fate() * operations);
    const path = join(await temporaryDirectory(), 'data');
    const files = await untilPowerFails(upstream, path, moment, fate);
    // The index is on the same disk, and may be older, newer or gone.
    if (fate() < 0.5) for (const end of ['', '-wal', '-shm']) await rm(`${path}/index.sqlite${end}`, { force: true });
    await expectRecovery(upstream, path, files).catch((cause: unknown) => {
      throw new Error(`loss ${loss}, at moment ${moment}`, { cause });
    });
  }
});
