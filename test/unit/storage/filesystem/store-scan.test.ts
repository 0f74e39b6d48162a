import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { chmod, mkdir, readdir, readlink, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { rebuildIndex } from '../../../../src/index/rebuild.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseTag } from '../../../../src/oci/reference.ts';
import { StoreScan } from '../../../../src/storage/filesystem/scan/store-scan.ts';
import { blobPath, recordPath } from '../../../../src/storage/layout.ts';
import { fileStores, preparedStores } from '../../../support/file-stores.ts';
import { fileWriter, writeLargeStore } from '../../../support/large-store.ts';
import { longestTurnMs } from '../../../support/longest-turn.ts';
import { alpine, built, keepImage, latest, local, rebuild } from '../../../support/rebuilds.ts';
import { never, startIndex } from '../../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

type Stores = ReturnType<typeof fileStores> & { readonly path: string };

function scanOf({ path, store, records, failures }: Stores, signal = never) {
  const observer = { internalError: ({ cause }: { cause: unknown }) => void [failures].flat().push(cause) };
  return new StoreScan({ path, store, records, observer, signal });
}

async function write(path: string, file: string, text: string): Promise<void> {
  await mkdir(dirname(join(path, file)), { recursive: true });
  await writeFile(join(path, file), text);
}

/** A store with one image, everything else that it may hold, and what does not belong there. */
async function mixedStore() {
  const kept = await preparedStores();
  const { path, store, records } = kept;
  await keepImage(kept);
  await keepImage(kept, local);
  await store.put(digestOf(Buffer.from('long'), 'sha512'), Buffer.from('long'));
  await utimes(join(path, blobPath(built.manifest.digest)), 5_000, 5_000.75);
  await records.write({ kind: 'referrers', repositoryId: local, digest: built.manifest.digest }, { referrers: [] });
  await write(path, recordPath({ kind: 'tag', repositoryId: alpine, tag: parseTag('torn') }), '{');
  await write(path, recordPath({ kind: 'tag', repositoryId: alpine, tag: parseTag('huge') }), ' '.repeat(100_000));
  for (const file of ['blobs/sha256/aa/short', 'blobs/loose', 'repositories/docker.io/Upper/_tags/v1.json'])
    await write(path, file, 'hostile');
  await write(path, 'repositories/docker.io/library/_tags/a\nb.json', '{}');
  await symlink('/etc/passwd', join(path, recordPath({ kind: 'tag', repositoryId: alpine, tag: parseTag('linked') })));
  await symlink('/', join(path, 'blobs/root'));
  return kept;
}

test('a thread finds in a store what is found call by call', async () => {
  const kept = await mixedStore();
  const scan = scanOf(kept);
  const byDigest = (one: { digest: string }, other: { digest: string }) => one.digest.localeCompare(other.digest);
  const [content, expected] = [await Array.fromAsync(scan.store.list()), await Array.fromAsync(kept.store.list())];
  expect(content.toSorted(byDigest)).toEqual(expected.toSorted(byDigest));
  expect(content.find(({ digest }) => digest === built.manifest.digest)?.modifiedAtMs).toBe(5_000_750);

  const contentsOf = async (records: Pick<StoreScan, 'records'>['records']) => {
    const found: [string, unknown][] = [];
    for await (const key of records.list()) found.push([recordPath(key), await records.read(key)]);
    return new Map(found.toSorted(([one], [other]) => one.localeCompare(other)));
  };
  const read = await contentsOf(kept.records);
  const use = kept.records.use();
  expect(await contentsOf(scan.records)).toEqual(read);
  expect([...read.keys()].filter((path) => path.includes('linked'))).toEqual([]);
  expect(kept.records.use()).toEqual(use);
});

test('an index is the same, whether a thread read the store for it or not', async () => {
  const kept = await mixedStore();
  const rebuilt = async (stores: Parameters<typeof rebuild>[1]) => {
    const { index } = await startIndex(await temporaryDirectory());
    const failures = await rebuild(index, stores);
    const found = [];
    for (const repositoryId of [alpine, local])
      for (const kind of ['manifest', 'blob'] as const)
        for (const { digest } of [built.manifest, ...built.blobs])
          found.push(await index.borrowableLinks(repositoryId, digest, kind));
    const evictable = await index.evictable({ limit: 100 });
    return { failures: failures.map(String), found, evictable, totals: await index.totals() };
  };
  const expected = await rebuilt(kept);
  expect(await rebuilt(scanOf(kept))).toEqual(expected);
  const unparsed = kept.failures.map(String).toSorted();
  expect(unparsed).toEqual(
    ['huge', 'huge', 'torn', 'torn'].map((tag) => expect.stringContaining(`${tag}.json is no JSON`)),
  );
});

test('a manifest whose bytes are wrong is put into quarantine', async () => {
  const kept = await preparedStores();
  await keepImage(kept);
  const file = join(kept.path, blobPath(built.manifest.digest));
  await chmod(file, 0o600);
  await writeFile(file, 'other bytes');
  const { index } = await startIndex(await temporaryDirectory());
  expect(await rebuild(index, scanOf(kept))).toEqual([]);
  expect(kept.corrupt).toEqual([built.manifest.digest]);
});

test('a record that cannot be read for now ends the rebuild, which is tried again', async () => {
  const kept = await mixedStore();
  kept.files.failWith = ({ operation, path }) => (operation === 'open' && path.includes('huge') ? 'EMFILE' : undefined);
  const { index } = await startIndex(await temporaryDirectory());
  await expect(rebuild(index, scanOf(kept))).rejects.toMatchObject({ code: 'EMFILE' });
  expect(index.needsRebuild).toBe(true);
});

test('a folder that cannot be listed ends the rebuild', async () => {
  const kept = await preparedStores();
  await keepImage(kept);
  const scan = scanOf(kept);
  await Array.fromAsync(scan.store.list());
  await rm(join(kept.path, 'repositories'), { recursive: true });
  await symlink('repositories', join(kept.path, 'repositories')); // ELOOP
  await expect(Array.fromAsync(scan.records.list())).rejects.toMatchObject({ code: 'ELOOP' });
});

async function largeStore(images: number) {
  const path = await temporaryDirectory();
  writeLargeStore(path, { images, layers: 9, repositories: 10 });
  const stores = { path, ...fileStores({ path }) };
  await stores.store.prepare();
  return stores;
}

/** What the descriptors of this process lead to, below a folder. */
async function openBelow(folder: string): Promise<readonly string[]> {
  const links = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''));
  return (await Promise.all(links)).filter((path) => path.startsWith(folder));
}

test('a thread reads a few hundred files ahead, and no more', async () => {
  const stores = await largeStore(1);
  const add = fileWriter(stores.path);
  for (let number = 0; number < 2_200; number += 1) add(blobPath(digestOf(Buffer.from(`${number}`))), '');
  const listed = scanOf(stores).store.list()[Symbol.asyncIterator]();
  await listed.next();
  await rm(join(stores.path, 'blobs'), { recursive: true });
  const rest = await Array.fromAsync({ [Symbol.asyncIterator]: () => listed });
  expect(rest.length).toBeGreaterThanOrEqual(499);
  expect(rest.length).toBeLessThanOrEqual(2_000);
  expect(stores.failures).toEqual([]);
});

test.runIf(process.platform === 'linux')('a scan that is stopped ends at once, and leaves no folder open', async () => {
  const { path, ...stores } = await largeStore(1);
  const add = fileWriter(path);
  // More than is read ahead: the folder is still open when the scan is stopped.
  for (let number = 0; number < 4_000; number += 1) {
    const digest = digestOf(Buffer.from(`${number}`));
    add(recordPath({ kind: 'blob', repositoryId: alpine, digest }), '{}');
  }
  const stopping = new AbortController();
  const scan = scanOf({ path, ...stores }, stopping.signal);
  await Array.fromAsync(scan.store.list());
  const listed = scan.records.list()[Symbol.asyncIterator]();
  await listed.next();
  await expect.poll(() => openBelow(path)).not.toEqual([]);
  stopping.abort(new Error('stopping'));
  await expect(Array.fromAsync({ [Symbol.asyncIterator]: () => listed })).rejects.toThrow('stopping');
  expect(await openBelow(path)).toEqual([]);
});

test('a store without content needs no thread', async () => {
  const kept = await preparedStores();
  await kept.records.write({ kind: 'tag', repositoryId: alpine, tag: latest }, {});
  const before = process.getActiveResourcesInfo().filter((name) => name === 'MessagePort').length;
  const scan = scanOf(kept);
  expect(await Array.fromAsync(scan.store.list())).toEqual([]);
  for await (const key of scan.records.list()) {
    expect(key).toEqual({ kind: 'tag', repositoryId: alpine, tag: latest });
    expect(process.getActiveResourcesInfo().filter((name) => name === 'MessagePort')).toHaveLength(before);
  }
});

test('a rebuild from what a thread reads blocks the event loop for 20 ms at most', async () => {
  const stores = await largeStore(150);
  const { index } = await startIndex(await temporaryDirectory());
  const observer = { internalError: ({ cause }: { cause: unknown }) => expect(cause).toBeUndefined() };
  const { store, records, readTogether } = scanOf(stores);
  const rebuilding = { store, records, readTogether, index, observer, signal: never };
  const longest = await longestTurnMs(() => rebuildIndex(rebuilding));
  expect(await index.totals()).toMatchObject({ manifests: 150, blobs: 1_350 });
  expect(longest).toBeLessThan(20);
});

test('a stop does not wait for a thread that hangs in a read', async () => {
  const kept = await preparedStores();
  const tags = Array.from({ length: 2_400 }, (_, number) => parseTag(`t${number}`));
  const files = tags.map((tag) => join(kept.path, recordPath({ kind: 'tag', repositoryId: alpine, tag })));
  await mkdir(dirname(files[0] ?? ''), { recursive: true });
  await Promise.all(files.map((file) => writeFile(file, '{}')));
  const stopping = new AbortController();
  const listed = scanOf(kept, stopping.signal).records.list()[Symbol.asyncIterator]();
  await listed.next(); // The names are read at once, the files as they are asked for.
  await Promise.all(files.map((file) => rm(file)));
  execFileSync('mkfifo', files); // To open a pipe without a writer takes until there is one.
  onTestFinished(() => {
    for (const file of files) closeSync(openSync(file, constants.O_RDWR | constants.O_NONBLOCK));
  });
  for (let read = 1; read < 2_000; read += 1) await listed.next();
  const next = listed.next();
  next.catch(() => {});
  stopping.abort(new Error('stopped'));
  await expect(next).rejects.toThrow('stopped');
});
