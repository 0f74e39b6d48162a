import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { BlobStore, StoredBlob } from '../../../mirror/ports/blob-store.ts';
import type { UploadResult } from '../../../mirror/ports/observer.ts';
import type { Memory } from '../../../mirror/ports/memory.ts';
import {
  parseBlobRecord,
  parseManifestRecord,
  type RecordKey,
  type RecordStore,
} from '../../../mirror/ports/record-store.ts';
import type { RepositoryId } from '../../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestFrom } from '../../../oci/digest.ts';
import { maxManifestBytes, namedBy } from '../../../oci/manifest.ts';
import type { BucketCache } from '../bucket-cache.ts';
import type { BucketLayout } from '../bucket-layout.ts';
import type { BucketLinks } from '../bucket-links.ts';
import { encryptionOf, type BucketObjects } from '../access/objects.ts';
import { type BucketRecords, withLinks } from '../bucket-records.ts';
import { type BucketCalls, OwnFailure } from '../access/calls.ts';
import type { BucketSettings } from '../access/client.ts';

export interface UploadDeps {
  readonly settings: BucketSettings;
  readonly calls: BucketCalls;
  readonly objects: BucketObjects;
  readonly records: BucketRecords;
  readonly links: BucketLinks;
  readonly cache: Pick<BucketCache, 'isDistrusted' | 'trust'>;
  readonly layout: BucketLayout;
  readonly memory: Memory;
  /** The local store, which uploads are read from. */
  readonly local: { readonly store: Pick<BlobStore, 'open' | 'readAll'>; readonly records: Pick<RecordStore, 'read'> };
  /** Called with what a manifest names, once the manifest is in the bucket. */
  readonly onManifest: (repositoryId: RepositoryId, digest: Digest, named: readonly Digest[]) => void;
  /** Called when content is in the bucket. */
  readonly onContent?: (content: UploadedContent) => void;
}

/** Content that this replica has put into the bucket, or found there. */
export interface UploadedContent {
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
  readonly size: number;
  /** Of a manifest. */
  readonly manifest?: { readonly mediaType: string; readonly names: readonly Digest[] };
}

/** What one upload did. */
export interface Uploaded {
  readonly result: Extract<UploadResult, 'ok' | 'present' | 'gone'>;
  readonly bytes: number;
}

/** S3 takes at most 10,000 parts, of 5 MiB at least. */
const minPartBytes = 5 * 1024 * 1024;
const maxParts = 9_000;
const partsInFlight = 2;
const readBytes = 1024 * 1024;
/** A connection that is slower than this ends the upload; it is tried again. */
const minBytesPerSecond = 64 * 1024;
const startWithinMs = 30_000;
const gone: Uploaded = { result: 'gone', bytes: 0 };

/** The local bytes are not those of their digest. */
export class LocalDamage extends Error {
  override readonly name = 'LocalDamage';

  constructor(digest: Digest) {
    super(`${digest} was not uploaded: its file has other bytes`);
  }
}

/**
 * Puts one record of the local store into the bucket; a link and a manifest only after their content. The link of a digest that is no blob means
 * the manifest of this digest.
 */
export class Upload {
  readonly #deps: UploadDeps;

  constructor(deps: UploadDeps) {
    this.#deps = deps;
  }

  /** @throws UpstreamError when the bucket takes it not; LocalDamage; the disk's error; the signal's reason. */
  async run(key: RecordKey, waiting: Waiting): Promise<Uploaded> {
    if (key.kind !== 'blob' && key.kind !== 'manifest') return this.#record(key, waiting);
    const { repositoryId, digest, kind } = key;
    const blob = kind === 'blob' ? await this.#blob(repositoryId, digest, waiting) : undefined;
    return blob ?? (await this.#manifest(repositoryId, digest, waiting)) ?? gone;
  }

  async #record(key: RecordKey, waiting: Waiting): Promise<Uploaded> {
    const value = await this.#deps.local.records.read(key);
    if (typeof value !== 'object' || value === null) return gone;
    await this.#deps.records.write(key, value, waiting);
    return { result: 'ok', bytes: 0 };
  }

  async #blob(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<Uploaded | undefined> {
    const { local, records, links, onContent } = this.#deps;
    const key = { kind: 'blob', repositoryId, digest } as const;
    const record = parseBlobRecord(await local.records.read(key));
    const content = record && (await this.#content(digest, record.size, waiting));
    if (!record || !content) return undefined;
    if (!links.isKnown(repositoryId, digest)) await records.write(key, { ...record, size: content.size }, waiting);
    links.add(repositoryId, digest);
    onContent?.({ repositoryId, digest, size: content.size });
    return content.uploaded;
  }

  async #manifest(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<Uploaded | undefined> {
    const { local, records, links, onManifest, onContent } = this.#deps;
    const key = { kind: 'manifest', repositoryId, digest } as const;
    const record = parseManifestRecord(await local.records.read(key));
    const bytes = record && (await local.store.readAll(digest, maxManifestBytes));
    const content = bytes && (await this.#content(digest, bytes.byteLength, waiting));
    if (!record || !content) return undefined;
    const names = namedBy(bytes).map((named) => named.digest);
    const linked = names.filter((name) => links.isKnown(repositoryId, name));
    await records.write(key, withLinks(record, linked), waiting);
    links.add(repositoryId, digest);
    onManifest(repositoryId, digest, names);
    onContent?.({ repositoryId, digest, size: content.size, manifest: { mediaType: record.mediaType, names } });
    return content.uploaded;
  }

  /** Puts the bytes into the bucket, unless they are there. @returns undefined when they are no longer stored here. */
  async #content(
    digest: Digest,
    expectedSize: number | undefined,
    waiting: Waiting,
  ): Promise<{ readonly uploaded: Uploaded; readonly size: number } | undefined> {
    const { local, cache, objects, layout } = this.#deps;
    await using blob = await local.store.open(digest, expectedSize);
    if (!blob) return undefined;
    const { size } = blob;
    const there = cache.isDistrusted(digest) ? undefined : await objects.head(layout.blob(digest), waiting);
    if (there?.size === size) return { uploaded: { result: 'present', bytes: 0 }, size };
    await this.#send(digest, blob, waiting);
    cache.trust(digest);
    return { uploaded: { result: 'ok', bytes: size }, size };
  }

  async #send(digest: Digest, blob: StoredBlob, { signal }: Waiting): Promise<void> {
    const { memory, calls, settings, layout } = this.#deps;
    const partSize = Math.max(minPartBytes, Math.ceil(blob.size / maxParts));
    // What the library holds: the parts in flight, the one that is gathered, and its copy. On a small budget it holds more than its share.
    const held = Math.min(blob.size, partSize * (partsInFlight + 2), Math.floor(memory.maxBytes / 8));
    const reservation = await memory.reserve(held, { signal });
    using _ = { [Symbol.dispose]: () => reservation.release() };
    const withinMs = startWithinMs + (blob.size / minBytesPerSecond) * 1_000;
    const { Upload: Multipart } = await import('@aws-sdk/lib-storage');
    await calls.run({ operation: 'Upload', kind: 'write', signal, withinMs }, async ({ client, abortSignal }) => {
      const body = Readable.from(verifiedChunks(digest, blob));
      const target = { Bucket: settings.bucket, Key: layout.blob(digest), Body: body, ...encryptionOf(settings) };
      const upload = new Multipart({ client, params: target, partSize, queueSize: partsInFlight });
      const abort = () => void upload.abort();
      abortSignal.addEventListener('abort', abort, { once: true });
      try {
        return await upload.done();
      } finally {
        abortSignal.removeEventListener('abort', abort);
        body.destroy();
      }
    });
  }
}

/** The bytes of a stored blob. The last of them come only if all are right, so that no wrong object is ever completed. @throws OwnFailure */
async function* verifiedChunks(digest: Digest, blob: StoredBlob): AsyncGenerator<Buffer> {
  try {
    yield* chunksOf(digest, blob);
  } catch (cause) {
    throw new OwnFailure(cause);
  }
}

/** @throws LocalDamage; the disk's error. */
async function* chunksOf(digest: Digest, blob: StoredBlob): AsyncGenerator<Buffer> {
  const hash = createHash(algorithmOf(digest));
  for (let position = 0; position < blob.size; ) {
    const chunk = Buffer.allocUnsafe(Math.min(readBytes, blob.size - position));
    const bytes = chunk.subarray(0, await blob.read(chunk, position));
    if (bytes.byteLength === 0) throw new LocalDamage(digest);
    hash.update(bytes);
    position += bytes.byteLength;
    if (position === blob.size && digestFrom(hash, algorithmOf(digest)) !== digest) throw new LocalDamage(digest);
    yield bytes;
  }
}
