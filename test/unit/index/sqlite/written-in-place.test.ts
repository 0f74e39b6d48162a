import { execFile } from 'node:child_process';
import { cp, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { never, startIndex } from '../../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const digests = Array.from({ length: 2_000 }, (_, number) => digestOf(Buffer.from(`content ${number}`)));

/** An index whose rebuild has found some content, and is not over. */
async function rebuiltInPart() {
  const directory = await temporaryDirectory();
  const { index } = await startIndex(directory);
  index.beginRebuild();
  for (const digest of digests)
    index.recordStoredContent({ digest, size: 1, isManifest: false, names: [], usedAtMs: 1 });
  await index.endCounting();
  return { directory, file: join(directory, 'index.sqlite'), index };
}

test('a rebuild writes each page once, and afterwards there is a write-ahead log again', async () => {
  const { file, index } = await rebuiltInPart();
  expect((await stat(file)).size).toBeGreaterThan(100_000);
  await expect(stat(`${file}-wal`)).rejects.toMatchObject({ code: 'ENOENT' });
  await index.completeRebuild({ signal: never });
  const { size } = await stat(file);
  index.recordUse(digests[0]!, 2);
  await index.settled();
  expect((await stat(`${file}-wal`)).size).toBeGreaterThan(0);
  expect((await stat(file)).size).toBe(size);
});

test('an index that is stopped during its rebuild is rebuilt further by the next process', async () => {
  const { directory, index } = await rebuiltInPart();
  await index.stop();
  const { index: next, failures } = await startIndex(directory);
  expect(failures).toEqual([]);
  expect(next.needsRebuild).toBe(true);
  expect(await next.totals()).toMatchObject({ blobs: digests.length });
});

test('an index whose process ended in the middle of a write of the rebuild is rebuilt from nothing', async () => {
  const { file } = await rebuiltInPart();
  const directory = await temporaryDirectory();
  await cp(file, join(directory, 'index.sqlite'));
  await truncate(join(directory, 'index.sqlite'), (await stat(file)).size - 10_000);
  const { index } = await startIndex(directory);
  expect(index.needsRebuild).toBe(true);
  expect(await index.totals()).toMatchObject({ blobs: 0 });
});

test('an index that can have no write-ahead log after its rebuild is used without', async () => {
  const directory = await temporaryDirectory();
  const program = join(import.meta.dirname, 'complete-without-descriptors.ts');
  const limited = ['-c', 'ulimit -n 60; exec "$0" "$@"', process.execPath, program, directory];
  const { stdout } = await promisify(execFile)('sh', limited);
  expect(JSON.parse(stdout)).toEqual({ failures: ['Error: unable to open database file'], blobs: 1 });
  const { index } = await startIndex(directory);
  expect(index.needsRebuild).toBe(false);
  expect(await index.totals()).toMatchObject({ blobs: 1 });
});
