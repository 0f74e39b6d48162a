import { setImmediate as nextTurn } from 'node:timers/promises';
import { parallel } from '../mirror/concurrency/parallel.ts';
import type { BlobStore } from '../mirror/ports/blob-store.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import {
  type BlobRecord,
  type ManifestRecord,
  parseBlobRecord,
  parseManifestRecord,
  parseTagRecord,
  type RecordKey,
  recordName,
  type RecordStore,
} from '../mirror/ports/record-store.ts';
import type { RepositoryId } from '../mirror/ports/repository-id.ts';
import type { Index, IndexedContent } from '../mirror/ports/store-index.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import type { Digest } from '../oci/digest.ts';
import { type ImageFacts, imageFactsOf, maxManifestBytes, namedBy } from '../oci/manifest.ts';
import type { Tag } from '../oci/reference.ts';

/** An index that can be rebuilt from the store. */
export interface RebuildableIndex extends Pick<Index, 'recordLink'> {
  /** Adds content that the store has; it may be in the index already. */
  recordStoredContent(content: IndexedContent): void;
  /** Adds a tag from its record. A write by the mirror since the start is newer, and is kept. */
  recordStoredTag(repositoryId: RepositoryId, tag: Tag, digest: Digest): void;
  /** Resolves when the buffered writes are in the index, or the disk refused them. @throws when the rebuild cannot go on for now */
  settled(options: Waiting): Promise<void>;
  /** Starts a rebuild. If the index is lost from here on, {@link completeRebuild} fails. */
  beginRebuild(): void;
  /** All files in blobs/ have been added: from here on the totals are those of the store. */
  endCounting(options: Waiting): Promise<void>;
  /** Whether the store may hold something that is not in the index. */
  readonly needsRebuild: boolean;
  /** Drops the rows that were not written since the index was started, and declares the index complete. */
  completeRebuild(options: Waiting): Promise<void>;
}

export interface RebuildDeps {
  readonly store: Pick<BlobStore, 'list' | 'readAll'>;
  readonly records: Pick<RecordStore, 'list' | 'read'>;
  readonly index: RebuildableIndex;
  readonly observer: Pick<Observer, 'internalError'>;
  /** Undefined when the store has not got it. By default its bytes are read from the store. */
  readonly manifest?: (digest: Digest) => Promise<ManifestFacts | undefined>;
  /** How many records are read at the same time; 1 where the records read ahead themselves. */
  readonly readTogether?: number;
}

/** What an index knows of a manifest. */
export interface ManifestFacts {
  readonly size: number;
  /** What it names. */
  readonly names: readonly Digest[];
  readonly image?: ImageFacts;
}

/** Files or records per turn of the event loop. */
const thingsPerTurn = 200;
/** One by one, each record would wait for several calls of the disk. */
const usuallyReadTogether = 16;
const lacking: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']);

/**
 * Rebuilds an index from the store while the mirror serves: first the content, last used when it was written, then the records and the
 * digests that manifests name. Writes by the mirror are kept. A record that cannot be read is skipped.
 * @throws the store's error when its folders cannot be listed or this process has no descriptors or memory left, or the signal's reason:
 *   then nothing was dropped from the index.
 */
export async function rebuildIndex(deps: RebuildDeps & Waiting): Promise<void> {
  const { store, records, index, signal } = deps;
  index.beginRebuild();
  for await (const { digest, size, modifiedAtMs } of inTurns(store.list(), { index, signal })) {
    index.recordStoredContent({ digest, size, isManifest: false, names: [], usedAtMs: modifiedAtMs });
  }
  await index.endCounting({ signal });
  await indexRecords(records.list(), deps);
  await index.completeRebuild({ signal });
}

/** Reads records and adds them to an index. One that cannot be read is skipped. @param deps.onMissing called with those that are gone. */
export async function indexRecords(
  keys: Iterable<RecordKey> | AsyncIterable<RecordKey>,
  deps: RebuildDeps & Waiting & { readonly onMissing?: (key: RecordKey) => Promise<void> },
): Promise<void> {
  const { store, records, index, observer, signal, onMissing } = deps;
  const { manifest = (digest) => readManifest(store, digest), readTogether = usuallyReadTogether } = deps;
  const context: RebuildContext = { index, manifest, readManifests: new Set() };
  const listed = parallel(keys, readTogether, (key) => readRecord(records, key, { isListed: !onMissing }));
  for await (const { key, reading } of inTurns(listed, { index, signal })) {
    try {
      const value = await reading;
      if (value !== undefined) await indexRecord(key, value, context);
      else await onMissing?.(key);
    } catch (cause) {
      if (isOfTheMoment(cause)) throw cause;
      observer.internalError({ part: 'index rebuild', cause: new Error(`unreadable: ${recordName(key)}`, { cause }) });
    }
  }
}

/** In place of the record of a blob. */
const nameSaysAll = { firstServedAtMs: 0 };

interface RebuildContext extends Required<Pick<RebuildDeps, 'index' | 'manifest'>> {
  /** A manifest is read once, however many repositories hold it. */
  readonly readManifests: Set<Digest>;
}

interface ListedRecord {
  readonly key: RecordKey;
  /** Undefined if it was removed since it was listed, or is not indexed. It may reject. */
  readonly reading: Promise<unknown>;
}

/**
 * Resolves when it is read, whether or not it can be. The link of a blob is not read, unless it must be known whether it is there: its name
 * says all but the size, which is that of the blob. Of most stores, these are most records.
 */
async function readRecord(
  records: Pick<RecordStore, 'read'>,
  key: RecordKey,
  { isListed }: { readonly isListed: boolean },
): Promise<ListedRecord> {
  if (key.kind === 'blob' && isListed) return { key, reading: Promise.resolve(nameSaysAll) };
  const isIndexed = key.kind === 'tag' || key.kind === 'manifest' || key.kind === 'blob';
  const reading = isIndexed ? records.read(key) : Promise.resolve(undefined);
  await Promise.allSettled([reading]);
  return { key, reading };
}

/** @throws Error when its fields are not those of its kind. */
async function indexRecord(key: RecordKey, value: unknown, context: RebuildContext): Promise<void> {
  const { repositoryId } = key;
  switch (key.kind) {
    case 'tag':
      return context.index.recordStoredTag(repositoryId, key.tag, parsed(parseTagRecord(value, key.tag)).digest);
    case 'blob':
      return indexBlob(repositoryId, key.digest, parsed(parseBlobRecord(value)), context);
    case 'manifest':
      return indexManifest(repositoryId, key.digest, parsed(parseManifestRecord(value)), context);
    case 'referrers':
    case 'tag-list':
    case 'visibility':
      return; // They are not indexed.
  }
}

function indexBlob(repositoryId: RepositoryId, digest: Digest, { size }: BlobRecord, { index }: RebuildContext): void {
  index.recordLink({ repositoryId, kind: 'blob', digest, mediaType: undefined, size });
}

async function indexManifest(
  repositoryId: RepositoryId,
  digest: Digest,
  record: ManifestRecord,
  context: RebuildContext,
): Promise<void> {
  const { mediaType, size, firstServedAtMs } = record;
  context.index.recordLink({ repositoryId, kind: 'manifest', digest, mediaType, size });
  if (context.readManifests.has(digest)) return;
  context.readManifests.add(digest);
  const facts = await context.manifest(digest);
  if (!facts) return;
  const image = facts.image && { ...facts.image, mediaType };
  context.index.recordStoredContent({ ...facts, digest, isManifest: true, usedAtMs: firstServedAtMs, image });
}

async function readManifest(store: RebuildDeps['store'], digest: Digest): Promise<ManifestFacts | undefined> {
  const bytes = await store.readAll(digest, maxManifestBytes);
  if (!bytes) return undefined;
  const [size, named] = [bytes.byteLength, namedBy(bytes)];
  return { size, names: named.map((child) => child.digest), image: imageFactsOf(size, named) };
}

/** This process ran out of descriptors or memory. The record may be good: skipping it could evict content that must be kept. */
function isOfTheMoment(error: unknown): boolean {
  return error instanceof Error && 'code' in error && lacking.has(error.code);
}

function parsed<Value>(record: Value | undefined): Value {
  if (record === undefined) throw new Error('it has missing or unexpected fields');
  return record;
}

/** Waits for the index after every few values: its write buffer is bounded, and drops what does not fit. */
export async function* inTurns<Value>(
  values: AsyncIterable<Value>,
  { index, signal }: { readonly index: Pick<RebuildableIndex, 'settled'> } & Waiting,
): AsyncIterable<Value> {
  let count = 0;
  for await (const value of values) {
    signal.throwIfAborted();
    yield value;
    count += 1;
    if (count % thingsPerTurn !== 0) continue;
    await index.settled({ signal });
    await nextTurn();
  }
}
