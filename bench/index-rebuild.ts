/**
 * How fast an index is rebuilt from a store: `node bench/index-rebuild.ts [images]`. Each image has nine layers, with links, and a tag.
 */
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rebuildIndex } from '../src/index/rebuild.ts';
import { SqliteIndex } from '../src/index/sqlite/sqlite-index.ts';
import { systemClock } from '../src/mirror/ports/clock.ts';
import { FileBlobStore } from '../src/storage/filesystem/blob-store.ts';
import { DurableFolders } from '../src/storage/filesystem/durable-folders.ts';
import { nodeFiles } from '../src/storage/filesystem/file-system.ts';
import { FileRecordStore } from '../src/storage/filesystem/record-store.ts';
import { StoreScan } from '../src/storage/filesystem/scan/store-scan.ts';
import { writeLargeStore } from '../test/support/large-store.ts';

const layers = 9;
const images = Number(process.argv[2] ?? 20_000);
await using work = await mkdtempDisposable(join(tmpdir(), 'layerwell-rebuild-'));
const path = join(work.path, 'store');
writeLargeStore(path, { images, layers, repositories: Math.ceil(images / 10) });
const observer = {
  corruptionFound: () => {},
  internalError: ({ cause }: { readonly cause: unknown }) => {
    throw cause;
  },
  indexAnswered: () => {},
};
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
const cpu = process.cpuUsage();
const startedAtMs = performance.now();
const { signal } = new AbortController();
const scan = new StoreScan({ path, store, records, observer, signal });
await rebuildIndex({
  store: scan.store,
  records: scan.records,
  readTogether: scan.readTogether,
  index,
  observer,
  signal,
});
const seconds = (performance.now() - startedAtMs) / 1_000;
const { user, system } = process.cpuUsage(cpu);
const objects = images * (layers + 1);
process.stdout.write(
  `${objects} objects in ${seconds.toFixed(1)} s: ${Math.round(objects / seconds)} a second, ${((user + system) / 1e6).toFixed(1)} s of CPU\n`,
);
await index.stop();
