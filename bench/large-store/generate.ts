import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { Slice } from '../../src/index/buffer-writer.ts';
import { closeForGood, openDatabase } from '../../src/index/sqlite/open-database.ts';
import { inTransaction, RowWriter } from '../../src/index/sqlite/rows.ts';
import { StoreLock } from '../../src/index/store-lock.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { recordPath } from '../../src/storage/layout.ts';
import { DurableFolders } from '../../src/storage/filesystem/durable-folders.ts';
import { nodeFiles } from '../../src/storage/filesystem/file-system.ts';
import {
  fileWriter,
  type LargeStore,
  storedImage,
  type StoredImage,
  writeLargeStore,
} from '../../test/support/large-store.ts';

/** Where a generated store lies. */
export interface StorePlace {
  readonly store: string;
  readonly indexFile: string;
}

const imagesPerTransaction = 5_000;
/** Every so many images there is one whose referrers were asked for; every so many repositories one whose tags were listed. */
const askedForEvery = 10;
const dayMs = 86_400_000;
const unlimited = { maxRows: Infinity, maxMs: Infinity, now: () => 0 };

const observer = {
  internalError: ({ cause }: { readonly cause: unknown }) => {
    throw cause;
  },
};

/** Writes a store with everything that a mirror would have written, and a complete index of it. */
export async function generateStore({ store, indexFile }: StorePlace, size: LargeStore): Promise<void> {
  await mkdir(join(store, 'blobs'), { recursive: true });
  writeLargeStore(store, size);
  writeLooseRecords(store, size);
  const files = new DurableFolders({ files: nodeFiles });
  const lock = new StoreLock({ folder: store, files, observer });
  await lock.start();
  const onBroken = (cause: unknown) => observer.internalError({ cause });
  const rules = { keep: [], isKept: () => false };
  const opened = await openDatabase({ path: indexFile, files, onBroken, runs: lock, nowMs: Date.now(), ...rules });
  writeIndex(opened.database, new RowWriter({ ...opened, ...rules }), size);
  closeForGood(opened.database, { isComplete: true });
  await lock.stop();
}

/** What is not written together with content, and not in the index. */
function writeLooseRecords(path: string, size: LargeStore): void {
  const write = fileWriter(path);
  const nowMs = Date.now();
  for (let number = 0; number < size.images; number += 1) {
    const { repositoryId, manifest, tag } = storedImage(number, size);
    const isAskedFor = number % askedForEvery === 0;
    const isFirst = number < size.repositories;
    const records = [
      { key: { kind: 'referrers', repositoryId, digest: manifest.digest }, isAskedFor, value: { referrers: [] } },
      { key: { kind: 'tag-list', repositoryId }, isAskedFor: isFirst && isAskedFor, value: { names: tag } },
      { key: { kind: 'visibility', repositoryId }, isAskedFor: isFirst, value: { verdict: 'public' } },
    ] as const;
    for (const { key, value } of records.filter((record) => record.isAskedFor))
      write(recordPath(key), JSON.stringify({ ...value, fetchedAtMs: nowMs, askedAtMs: nowMs }));
  }
}

function writeIndex(database: DatabaseSync, writer: RowWriter, size: LargeStore): void {
  database.exec('PRAGMA cache_size = -1000000; PRAGMA wal_autocheckpoint = 20000');
  for (let from = 0; from < size.images; from += imagesPerTransaction)
    inTransaction(database, () => {
      for (let number = from; number < Math.min(size.images, from + imagesPerTransaction); number += 1)
        indexImage(writer, storedImage(number, size), usedAtMs(number, size));
    });
}

/** In the last twenty days: images that were used one after the other are far from each other in the store. */
function usedAtMs(number: number, { images }: LargeStore): number {
  return Date.now() - Math.floor((((number * 7_919) % images) / images) * 20 * dayMs);
}

function indexImage(writer: RowWriter, image: StoredImage, atMs: number): void {
  const { repositoryId, tag, manifest, layers } = image;
  const link = { repositoryId, mediaType: undefined };
  for (const { digest, bytes } of layers) {
    const size = bytes.byteLength;
    writer.content({ digest, size, isManifest: false, names: [], usedAtMs: atMs });
    writer.link({ ...link, kind: 'blob', digest, size });
  }
  const { digest } = manifest;
  const size = manifest.bytes.byteLength;
  const names = layers.map((layer) => layer.digest);
  const bytes = layers.reduce((sum, layer) => sum + layer.bytes.byteLength, size);
  const facts = { mediaType: ociManifest, bytes, images: [] };
  writer.content({ digest, size, isManifest: true, names, usedAtMs: atMs, image: facts });
  writer.names(digest, names, { from: 0, slice: new Slice(unlimited) });
  writer.link({ ...link, kind: 'manifest', digest, mediaType: ociManifest, size });
  writer.tag({ repositoryId, tag, digest, source: 'store' });
  writer.repositoryUse(`${repositoryId.upstream}/${repositoryId.repository}`, atMs);
}
