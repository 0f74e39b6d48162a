import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { imageOver, layer } from '../support/bounded-store.ts';
import { differences } from '../support/index-and-disk.ts';
import { nginx, type PurgedApp, startPurging, stored } from '../support/purging.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { storeOnDisk } from '../support/store-on-disk.ts';

const repository = `docker.io/${nginx}`;
const [base, one] = [layer('base', 1000), layer('one', 1000)];

/** The tag `1` was purged, its record could not be removed, and the process has ended: only the disk knows of it. */
async function withTagOnTheDisk(): Promise<PurgedApp> {
  const files = new ScriptedFiles();
  const begun = await startPurging(files);
  await begun.publishAndPull(nginx, '1', imageOver('1', one));
  await begun.publishAndPull(nginx, '2', imageOver('2', base));
  files.failWith = ({ operation, path }) => (operation === 'unlink' && path.endsWith('/1.json') ? 'EIO' : undefined);
  const refused = await begun.purged({ repository, tag: '1' });
  expect(refused).toMatchObject({ status: 503, body: { notRemoved: { tags: ['1'], digests: [] } } });
  await begun.app.restart();
  files.failWith = () => undefined;
  return begun;
}

const recordsOf = async ({ app }: PurgedApp) => (await storeOnDisk(app.dataDirectory)).records;

async function expectNothingLeft({ app, purged }: PurgedApp): Promise<void> {
  expect(await stored(app)).toEqual({ manifests: 0, blobs: 0 });
  expect((await purged({ repository })).status).toBe(404);
  await app.stop();
  expect(await differences(app.dataDirectory)).toEqual([]);
}

test('after a restart, a purge of the repository finds the tag that the disk had refused to remove', async () => {
  const world = await withTagOnTheDisk();
  const dry = await world.purged({ repository, dryRun: true });
  expect(dry).toMatchObject({ status: 200, body: { removed: { tags: 2 } } });
  const { status, body } = await world.purged({ repository });
  expect([status, new Set(Object(body).tags)]).toEqual([200, new Set(['1', '2'])]);
  expect((await recordsOf(world)).filter(({ kind }) => kind === 'tag')).toEqual([]);
  await expectNothingLeft(world);
});

test('after a restart, a purge of tags by a glob finds it too', async () => {
  const world = await withTagOnTheDisk();
  const byGlob = await world.purged({ glob: 'docker.io/library/*:1' }, '/by-glob');
  expect(byGlob).toMatchObject({ status: 200, body: { repositories: 1, removed: { tags: 1 }, refused: 0 } });
  expect((await recordsOf(world)).flatMap((key) => (key.kind === 'tag' ? key.tag : []))).toEqual(['2']);
  expect(await world.purged({ repository })).toMatchObject({ body: { tags: ['2'] } });
  await expectNothingLeft(world);
});

test('a purge of a repository removes the content of links that only the disk has', async () => {
  const world = await startPurging();
  const { app, publishAndPull, purged } = world;
  await publishAndPull(nginx, '1', imageOver('1', one));
  await app.stop();
  const database = new DatabaseSync(join(app.dataDirectory, 'index.sqlite'));
  database.exec('DELETE FROM links');
  database.close();
  await app.start(app.config);
  expect(await purged({ repository })).toMatchObject({
    status: 200,
    body: { removed: { tags: 1, manifests: 1, blobs: 2 } },
  });
  expect((await recordsOf(world)).filter((key) => 'digest' in key)).toEqual([]);
  await expectNothingLeft(world);
});

test('a purge of a repository whose folder cannot be read removes nothing', async () => {
  const files = new ScriptedFiles();
  const { app, publishAndPull, purged } = await startPurging(files);
  await publishAndPull(nginx, '1', imageOver('1', one));
  files.failWith = ({ operation, path }) => (operation === 'entries' && path.includes(nginx) ? 'EIO' : undefined);
  expect(await purged({ repository })).toMatchObject({ status: 503, body: { type: '/problems/unavailable' } });
  expect(await stored(app)).toEqual({ manifests: 1, blobs: 2 });
});
