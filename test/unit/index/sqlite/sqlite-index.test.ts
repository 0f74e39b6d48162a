import { setImmediate as nextTurn } from 'node:timers/promises';
import { copyFile, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { everything, indexImage, latest, layer, manifest, repositoryId } from '../../../support/indexed-image.ts';
import { longestTurnMs } from '../../../support/longest-turn.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { type StartedProcess, startProcess } from '../../../support/processes.ts';
import { indexAt, never, startCompleteIndex, startIndex } from '../../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

async function closedIndex(): Promise<string> {
  const directory = await temporaryDirectory();
  const { index } = await startCompleteIndex(directory);
  indexImage(index);
  await index.stop();
  return directory;
}

async function killedOwner(directory: string): Promise<StartedProcess> {
  const owner = startProcess(process.execPath, [join(import.meta.dirname, 'write-until-killed.ts'), directory]);
  await owner.waitUntil(({ stdout }) => stdout.includes('noted'));
  return owner;
}

describe('opened again', () => {
  test('uses recorded by a wall clock that was a year ahead count as now, from the next use or start on', async () => {
    const directory = await temporaryDirectory();
    const { index } = await startCompleteIndex(directory);
    const nowMs = new ManualClock().now();
    const aheadMs = nowMs + 365 * 86_400_000;
    const other = digestOf(Buffer.from('other'));
    for (const digest of [layer, other])
      index.recordContent({ digest, size: 10, isManifest: false, names: [], usedAtMs: aheadMs });
    index.recordUse(layer, nowMs);
    expect(await index.evictable(everything)).toMatchObject([
      { digest: layer, usedAtMs: nowMs },
      { digest: other, usedAtMs: aheadMs },
    ]);
    await index.stop();
    const { index: again } = await startIndex(directory);
    const uses = (await again.evictable(everything)).map(({ usedAtMs }) => usedAtMs);
    expect(uses).toEqual([nowMs, nowMs]);
  });

  test('an index that was closed is complete and has its content', async () => {
    const { index } = await startIndex(await closedIndex());
    expect(index.needsRebuild).toBe(false);
    await index.whenComplete({ signal: never });
    expect(await index.totals()).toMatchObject({ bytes: 11, manifests: 1, blobs: 1 });
    expect(await index.evictable(everything)).toMatchObject([{ digest: manifest, usedAtMs: 2 }]);
    expect(await index.forget(manifest)).toEqual([{ kind: 'tag', repositoryId, tag: latest }]);
  });

  test('an index of a release that did not count the bytes of manifests is kept, and counts them from then on', async () => {
    const directory = await closedIndex();
    const database = new DatabaseSync(join(directory, 'index.sqlite'));
    for (const change of ['added', 'changed', 'removed']) database.exec(`DROP TRIGGER manifest_bytes_${change}`);
    database.exec('DROP TABLE manifest_totals');
    database.close();
    const { index } = await startIndex(directory);
    expect(index.needsRebuild).toBe(false);
    expect(await index.totals()).toMatchObject({ bytes: 11, manifestBytes: 1 });
    await index.forget(manifest);
    expect(await index.totals()).toMatchObject({ bytes: 10, manifestBytes: 0 });
  });

  test('an index whose process was killed is made anew, if no journal tells what changed since', async () => {
    const directory = await temporaryDirectory();
    const owner = await killedOwner(directory);
    owner.send('SIGKILL');
    await owner.exited;

    const { index, failures } = await startIndex(directory);
    expect(index.needsRebuild).toBe(true);
    expect(await index.totals()).toMatchObject({ bytes: 0, manifests: 0, blobs: 0 });
    expect(failures).toEqual([]);
  });

  test('an index that lost everything not yet synced must be rebuilt', async () => {
    const directory = await closedIndex();
    await startIndex(directory);
    const afterPowerLoss = await temporaryDirectory();
    await copyFile(join(directory, 'index.sqlite'), join(afterPowerLoss, 'index.sqlite'));

    const { index } = await startIndex(afterPowerLoss);
    expect(index.needsRebuild).toBe(true);
  });

  test('an index that was closed during its rebuild must be rebuilt', async () => {
    const directory = await temporaryDirectory();
    const { index: unfinished } = await startIndex(directory);
    indexImage(unfinished);
    await unfinished.stop();

    const { index } = await startIndex(directory);
    expect(index.needsRebuild).toBe(true);
    expect(await index.totals()).toMatchObject({ blobs: 1 });
  });
});

describe('its owner', () => {
  test('is one process: a second one is told that the index is in use, and does not disturb the first', async () => {
    const directory = await temporaryDirectory();
    await killedOwner(directory);
    await expect(indexAt(directory).index.start()).rejects.toThrow(
      `the index ${join(directory, 'index.sqlite')} is in use by another process`,
    );
    expect((await stat(join(directory, 'index.sqlite'))).size).toBeGreaterThan(0);
  });

  test('is one index, also within one process', async () => {
    const directory = await temporaryDirectory();
    const { index } = await startCompleteIndex(directory);
    await expect(indexAt(directory).index.start()).rejects.toThrow('in use by another process');
    indexImage(index);
    expect(await index.totals()).toMatchObject({ blobs: 1 });
    await index.stop();
    const next = await startIndex(directory);
    expect(next.index.needsRebuild).toBe(false);
  });
});

describe('an unusable index file is deleted and created again', () => {
  const damages: [string, (path: string) => Promise<void>][] = [
    ['random bytes', (path) => writeFile(path, Buffer.alloc(10_000, 'garbage'))],
    ['cut short', (path) => truncate(path, 5000)],
    ['overwritten in the middle', async (path) => writeFile(path, (await readFile(path)).fill('x', 4096, 30_000))],
    ['of another version', async (path) => change(path, 'PRAGMA user_version = 999')],
    ['another program wrote', async (path) => change(path, 'DROP TABLE state')],
  ];

  async function change(path: string, sql: string): Promise<void> {
    const database = new DatabaseSync(path);
    database.exec(sql);
    database.close();
  }

  test.each(damages)('%s', async (_, damage) => {
    const directory = await closedIndex();
    await damage(join(directory, 'index.sqlite'));

    const { index, failures } = await startIndex(directory);
    expect(failures).toHaveLength(1);
    expect(index.needsRebuild).toBe(true);
    expect(await index.totals()).toMatchObject({ bytes: 0, manifests: 0, blobs: 0 });
    indexImage(index);
    expect(await index.totals()).toMatchObject({ blobs: 1 });
  });

  test('a missing or empty index is created without a warning', async () => {
    const directory = join(await temporaryDirectory(), 'deep', 'er');
    const { index, failures } = await startIndex(directory);
    expect(index.needsRebuild).toBe(true);
    expect(failures).toEqual([]);

    const other = await temporaryDirectory();
    await writeFile(join(other, 'index.sqlite'), '');
    expect((await startIndex(other)).failures).toEqual([]);
  });

  test('an index that cannot be created causes an error with its path', async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, 'file'), '');
    const path = join(directory, 'file', 'index.sqlite');
    await expect(indexAt(join(directory, 'file')).index.start()).rejects.toThrow(`the index ${path} cannot be created`);
  });
});

test('a changed storage.keep applies at the next start, without a new index', async () => {
  const directory = await temporaryDirectory();
  const { index: before } = await startCompleteIndex(directory, { keep: ['docker.io/library/*'] });
  before.recordContent({ digest: manifest, size: 7, isManifest: true, names: [], usedAtMs: 1 });
  before.recordLink({ repositoryId, kind: 'manifest', digest: manifest, mediaType: undefined, size: 7 });
  expect(await before.evictable(everything)).toEqual([]);
  await before.stop();

  const { index: without } = await startIndex(directory);
  expect(without.needsRebuild).toBe(false);
  expect(await without.evictable(everything)).toMatchObject([{ digest: manifest }]);
  expect(await without.totals()).toMatchObject({ keptBytes: 0 });
  await without.stop();

  const { index: again } = await startIndex(directory, { keep: ['docker.io/**'] });
  expect(await again.evictable(everything)).toEqual([]);
  expect(await again.totals()).toMatchObject({ keptBytes: 4096 });
});

test('content with links from thousands of repositories is forgotten without blocking the event loop', async () => {
  const { index } = await startCompleteIndex(await temporaryDirectory());
  index.recordContent({ digest: layer, size: 1, isManifest: false, names: [], usedAtMs: 1 });
  for (let number = 0; number < 5_000; number += 1) {
    const repository = parseRepository(`team/app-${number}`);
    index.recordLink({
      repositoryId: { upstream: 'docker.io', repository },
      kind: 'blob',
      digest: layer,
      mediaType: undefined,
      size: 1,
    });
  }
  expect(await index.totals()).toMatchObject({ records: 5_000 });
  let keys: readonly unknown[] = [];
  const longestMs = await longestTurnMs(async () => {
    await nextTurn();
    keys = await index.forget(layer);
    await nextTurn();
  });
  expect(keys).toHaveLength(5_000);
  expect(await index.totals()).toMatchObject({ records: 0, blobs: 0 });
  expect(longestMs).toBeLessThan(50);
});
