import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test, vi } from 'vitest';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { everything, indexImage, layer, manifest } from '../../../support/indexed-image.ts';
import { longestTurnMs } from '../../../support/longest-turn.ts';
import { startProcess } from '../../../support/processes.ts';
import { indexAt, startCompleteIndex, startIndex } from '../../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

describe('buffered writes', () => {
  /** What the file holds, read without the index. */
  async function writtenIn(directory: string): Promise<readonly unknown[]> {
    const copy = await temporaryDirectory();
    for (const suffix of ['', '-wal']) {
      await copyFile(join(directory, `index.sqlite${suffix}`), join(copy, `index.sqlite${suffix}`));
    }
    const database = new DatabaseSync(join(copy, 'index.sqlite'));
    const digests = database.prepare('SELECT digest FROM content ORDER BY used_at').all();
    database.close();
    return digests.map(({ digest }) => digest);
  }

  test('reach the file within a fifth of a second, without a query', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const directory = await temporaryDirectory();
      const { index } = await startCompleteIndex(directory);
      indexImage(index);
      vi.advanceTimersByTime(199);
      expect(await writtenIn(directory)).toEqual([]);
      vi.advanceTimersByTime(1);
      expect(await writtenIn(directory)).toEqual([layer, manifest]);
    } finally {
      vi.useRealTimers();
    }
  });

  test('made before the start are not lost', async () => {
    const directory = await temporaryDirectory();
    const { index } = indexAt(directory);
    indexImage(index);
    await index.start();
    expect(await index.totals()).toMatchObject({ bytes: 11, manifests: 1, blobs: 1 });
    await index.stop();
  });

  test('made after the stop are ignored, and queries are rejected', async () => {
    const { index } = await startCompleteIndex(await temporaryDirectory());
    await index.stop();
    await index.stop();
    indexImage(index);
    index.recordUse(layer, 1);
    await expect(index.totals()).rejects.toThrow('the index is not open');
    await expect(index.forget(layer)).rejects.toThrow('the index is not open');
  });

  test('that the disk rejects leave an index that must be rebuilt', async () => {
    const directory = await temporaryDirectory();
    const script = join(import.meta.dirname, 'write-beyond-limit.ts');
    const limited = startProcess('/bin/sh', [
      '-c',
      'ulimit -f 400; exec "$0" "$@"',
      process.execPath,
      script,
      directory,
    ]);
    expect(await limited.exited).toEqual({ code: 0, signal: null });
    expect(limited.stdout).toMatch(/^failure\n$/);

    const { index, failures } = await startIndex(directory);
    expect(failures).toEqual([]);
    expect(index.needsRebuild).toBe(true);
  });

  test('of the largest possible manifest never block others for long', async () => {
    const { index } = await startCompleteIndex(await temporaryDirectory());
    const children = Array.from({ length: 28_000 }, (_, number): Digest => digestOf(Buffer.from(`child ${number}`)));
    for (const digest of children.slice(0, 300)) {
      index.recordContent({ digest, size: 1, isManifest: false, names: [], usedAtMs: 1 });
    }
    index.recordContent({ digest: manifest, size: 1, isManifest: true, names: children, usedAtMs: 2 });
    const longest = await longestTurnMs(async () => {
      expect(await index.evictable(everything)).toMatchObject([{ digest: manifest }]);
      await index.forget(manifest);
      expect(await index.evictable(everything)).toHaveLength(300);
    });
    expect(longest).toBeLessThan(150);
  });
});
