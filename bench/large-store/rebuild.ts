import { mkdtempDisposable } from 'node:fs/promises';
import { join } from 'node:path';
import { rebuildIndex } from '../../src/index/rebuild.ts';
import { SqliteIndex } from '../../src/index/sqlite/sqlite-index.ts';
import { systemClock } from '../../src/mirror/ports/clock.ts';
import { FileBlobStore } from '../../src/storage/filesystem/blob-store.ts';
import { DurableFolders } from '../../src/storage/filesystem/durable-folders.ts';
import { nodeFiles } from '../../src/storage/filesystem/file-system.ts';
import { FileRecordStore } from '../../src/storage/filesystem/record-store.ts';
import { StoreScan } from '../../src/storage/filesystem/scan/store-scan.ts';
import { writeLargeStore } from '../../test/support/large-store.ts';
import type { Measured } from './figures.ts';

const layers = 9;
const leastPerSecond = 10_000;

const observer = {
  corruptionFound: () => {},
  internalError: ({ cause }: { readonly cause: unknown }) => {
    throw cause;
  },
  indexAnswered: () => {},
};

/**
 * How fast an index is rebuilt from a store, in this process: each image has nine layers, with links, a manifest and a tag. An object is a
 * blob or a manifest.
 */
export async function measureRebuild({
  images,
  workDir,
  signal,
}: {
  readonly images: number;
  readonly workDir: string;
  readonly signal: AbortSignal;
}): Promise<Measured> {
  await using work = await mkdtempDisposable(join(workDir, 'layerwell-rebuild-'));
  const path = join(work.path, 'store');
  writeLargeStore(path, { images, layers, repositories: Math.ceil(images / 10) });
  const shared = { path, observer, failpoint: () => {}, clock: systemClock };
  const store = new FileBlobStore(shared);
  await store.prepare();
  const records = new FileRecordStore(shared);
  const index = new SqliteIndex({
    path: join(work.path, 'index.sqlite'),
    files: new DurableFolders({ files: nodeFiles }),
    observer,
    clock: systemClock,
    runs: { lastRun: undefined, run: 'bench' },
  });
  await index.start();
  const scan = new StoreScan({ path, store, records, observer, signal });
  const scanned = { store: scan.store, records: scan.records, readTogether: scan.readTogether };
  const [cpu, mainCpu, startedAtMs] = [process.cpuUsage(), process.threadCpuUsage(), performance.now()];
  await rebuildIndex({ ...scanned, index, observer, signal });
  const micros = (performance.now() - startedAtMs) * 1_000;
  const [all, main] = [process.cpuUsage(cpu), process.threadCpuUsage(mainCpu)];
  const { blobs, manifests } = await index.totals();
  await index.stop();
  const objects = images * (layers + 1);
  if (blobs + manifests !== objects) throw new Error(`${blobs + manifests} of ${objects} objects are in the index`);
  const what = `rebuild of an index of ${objects.toLocaleString('en-US')} objects`;
  return {
    bounds: [{ what: `${what}: µs for each`, measured: micros / objects, limit: 1e6 / leastPerSecond }],
    figures: [
      { what: `${what}: objects/s`, measured: (1e6 * objects) / micros },
      { what: `${what}: CPU for each, µs`, measured: (all.user + all.system) / objects },
      { what: `${what}: CPU of the main thread for each, µs`, measured: (main.user + main.system) / objects },
    ],
  };
}
