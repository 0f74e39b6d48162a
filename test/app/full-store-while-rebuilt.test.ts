import { rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import type { Digest } from '../../src/oci/digest.ts';
import { type Started, started } from '../support/bounded-store.ts';
import { ask } from '../support/client.ts';
import { diskUseOf } from '../support/disk-use.ts';
import { gate } from '../support/gate.ts';
import { type Image, image } from '../support/images.ts';
import { differences } from '../support/index-and-disk.ts';
import { pullAll } from '../support/pull.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import type { RunningApp } from '../support/start-app.ts';
import { blobFile, storeOnDisk } from '../support/store-on-disk.ts';

const layerBytes = 200 * 1024;
/** With its records: 224 KiB. */
const imageOf = (name: string): Image => image({ name, layers: 1, layerBytes });
const old = Array.from({ length: 9 }, (_, number) => imageOf(`old ${number}`));
const fresh = [imageOf('fresh 0'), imageOf('fresh 1'), imageOf('fresh 2')];
/** Room for the old images and half another one. */
const maxBytes = 2_112 * 1024;

const layerOf = ({ blobs }: Image): Digest => blobs.at(-1)!.digest;

/** A stopped mirror whose store is full of images. The least recent is first, also by the times of its files. */
async function stoppedAndFull(): Promise<Started & { readonly files: ScriptedFiles }> {
  const files = new ScriptedFiles();
  const running = await started({ maxSize: `${maxBytes}B` }, files);
  const { app, upstream } = running;
  for (const one of [...old, ...fresh]) upstream.content.add('team/app', tagOf(one), one);
  for (const one of old) await pull(app, one);
  await app.stop();
  for (const [number, { manifest, blobs }] of old.entries())
    for (const { digest } of [manifest, ...blobs])
      await utimes(blobFile(app.dataDirectory, digest), 1_000 + number, 1_000 + number);
  return { ...running, files };
}

const tagOf = ({ manifest }: Image): string => manifest.digest.slice(-8);

async function pull(app: RunningApp, one: Image): Promise<void> {
  app.clock.advance(1_000);
  await pullAll(app, 'team/app', tagOf(one));
  await app.quiet();
}

/** What `storage.maxSize` bounds: all but the folders of blobs, and the empty index. */
async function countedBytes({ dataDirectory }: RunningApp): Promise<number> {
  const folders = ['repositories', 'incoming', 'set-aside'].map((name) => diskUseOf(join(dataDirectory, name)));
  const contents = [...(await storeOnDisk(dataDirectory)).blobs.values()];
  const bytes = contents.reduce((sum, { size }) => sum + Math.ceil(size / 4096) * 4096, 0);
  return (await Promise.all(folders)).reduce((sum, use) => sum + use.bytes, bytes);
}

/** Which of these images have their layer on the disk. */
async function storedOf({ dataDirectory }: RunningApp, images: readonly Image[]): Promise<readonly Image[]> {
  const { blobs } = await storeOnDisk(dataDirectory);
  return images.filter((one) => blobs.has(layerOf(one)));
}

const isRebuilt = async ({ managementUrl }: RunningApp): Promise<boolean> =>
  JSON.parse((await ask({ url: managementUrl }, '/readyz')).body.toString()).index === 'ok';

/** Holds a rebuild before it has seen the last few files, and again before it has read a record. */
async function heldRebuild(app: RunningApp, files: ScriptedFiles, maxSize = maxBytes) {
  const [counted, records] = [gate(), gate()];
  const lookedAt = (await storeOnDisk(app.dataDirectory)).blobs.size - 5;
  const looked: string[] = [];
  files.before = async ({ operation, path }) => {
    if (operation === 'stat' && path.includes('/blobs/') && looked.push(path) > lookedAt) await counted.opened;
    if (operation === 'entries' && path.endsWith('/repositories')) await records.opened;
  };
  await rm(join(app.dataDirectory, 'index.sqlite'));
  await app.restart({ ...app.config, storage: { maxSize: `${maxSize}B`, minFree: '0B' } });
  await vi.waitUntil(() => looked.length > lookedAt);
  const hasSeen = (one: Image) => looked.slice(0, lookedAt).includes(blobFile(app.dataDirectory, layerOf(one)));
  return { counted, records, hasSeen };
}

test('a full store admits new content while its index is rebuilt', async () => {
  const { app, files } = await stoppedAndFull();
  expect(await storedOf(app, old)).toEqual(old);
  const { counted, records, hasSeen } = await heldRebuild(app, files);
  const seen = old.filter(hasSeen);
  const used = [await countedBytes(app)];

  await pull(app, fresh[0]!);
  used.push(await countedBytes(app));
  expect(await storedOf(app, fresh)).toEqual(fresh.slice(0, 1));
  const left = await storedOf(app, old);
  expect(left.length).toBeGreaterThanOrEqual(old.length - 2);
  expect(left).toEqual(old.filter((one) => !hasSeen(one) || seen.indexOf(one) >= old.length - left.length));

  counted.open();
  await pull(app, fresh[1]!);
  used.push(await countedBytes(app));
  expect(await isRebuilt(app)).toBe(false);
  expect(await storedOf(app, fresh)).toEqual(fresh.slice(0, 2));

  records.open();
  await vi.waitUntil(() => isRebuilt(app), { timeout: 10_000 });
  await pull(app, fresh[2]!);
  used.push(await countedBytes(app));
  expect(await storedOf(app, fresh)).toEqual(fresh);
  expect(Math.max(...used)).toBeLessThanOrEqual(maxBytes);
  await app.stop();
  expect(await differences(app.dataDirectory)).toEqual([]);
});

test('a store with room evicts nothing while its index is rebuilt: the use of the last process is known', async () => {
  const { app, files } = await stoppedAndFull();
  const { counted, records } = await heldRebuild(app, files, 2 * maxBytes);
  for (const one of fresh) await pull(app, one);
  expect(await isRebuilt(app)).toBe(false);
  counted.open();
  records.open();
  await vi.waitUntil(() => isRebuilt(app), { timeout: 10_000 });
  expect(await storedOf(app, [...old, ...fresh])).toEqual([...old, ...fresh]);
});
