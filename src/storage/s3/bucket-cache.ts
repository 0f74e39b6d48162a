import { Remembered } from '../../mirror/concurrency/remembered.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { BlobRedirects, OtherCache } from '../../mirror/ports/other-caches.ts';
import {
  parseManifestRecord,
  parseTagRecord,
  parseVisibilityRecord,
  type TagRecord,
  type VisibilityRecord,
} from '../../mirror/ports/record-store.ts';
import type { RepositoryId } from '../../mirror/ports/repository-id.ts';
import type { ByteRange, FetchedManifest, OpenedBlob } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestOf } from '../../oci/digest.ts';
import { maxManifestBytes } from '../../oci/manifest.ts';
import type { Tag } from '../../oci/reference.ts';
import type { BucketLayout } from './bucket-layout.ts';
import type { BucketLinks } from './bucket-links.ts';
import type { BucketObjects } from './access/objects.ts';
import type { BucketRecords } from './bucket-records.ts';

export interface BucketCacheDeps {
  readonly objects: BucketObjects;
  readonly records: Pick<BucketRecords, 'read'>;
  readonly links: BucketLinks;
  readonly layout: BucketLayout;
  readonly clock: Clock;
  /** Called when the bucket served a blob, with the time of its upload. */
  readonly onUsed?: (digest: Digest, uploadedAtMs: number) => void;
}

/** How long content that did not match its digest is not read from the bucket. The next upload of it replaces the object. */
const distrustedForMs = 10 * 60_000;
const maxDistrusted = 10_000;
/** How long a client may take to follow a redirect. */
const urlSeconds = 15 * 60;
const distrusted = { isDistrusted: true };

/**
 * What the bucket holds, for the repository named only: its record is read first, its content only if there is one. With a known link a blob
 * costs one call; see bucket-links.ts. Nothing that the bucket sends is trusted: blobs are verified by their download, manifests here.
 */
export class BucketCache implements OtherCache, Pick<BlobRedirects, 'urlFor'> {
  readonly #deps: BucketCacheDeps;
  readonly #distrusted: Remembered<typeof distrusted>;

  constructor(deps: BucketCacheDeps) {
    this.#deps = deps;
    this.#distrusted = new Remembered({ clock: deps.clock, max: maxDistrusted });
  }

  async openBlob(
    repositoryId: RepositoryId,
    digest: Digest,
    { signal, range }: Waiting & { readonly range?: ByteRange },
  ): Promise<OpenedBlob | undefined> {
    const { links, objects, layout, onUsed } = this.#deps;
    if (this.isDistrusted(digest) || !(await links.has(repositoryId, digest, { signal }))) return undefined;
    const opened = await objects.open(layout.blob(digest), { signal, range });
    if (!opened) {
      links.forget(repositoryId, digest);
      return undefined;
    }
    const { modifiedAtMs, ...blob } = opened;
    onUsed?.(digest, modifiedAtMs);
    return { ...blob, origin: 'shared', via: 'shared' };
  }

  async urlFor(repositoryId: RepositoryId, digest: Digest, { signal }: Waiting): Promise<string | undefined> {
    const { links, objects, layout, onUsed } = this.#deps;
    if (this.isDistrusted(digest) || !(await links.has(repositoryId, digest, { signal }))) return undefined;
    const found = await objects.urlOf(layout.blob(digest), { signal, seconds: urlSeconds });
    if (found) onUsed?.(digest, found.modifiedAtMs);
    else links.forget(repositoryId, digest);
    return found?.url;
  }

  async manifest(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<FetchedManifest | undefined> {
    const { records, links } = this.#deps;
    if (this.isDistrusted(digest)) return undefined;
    const document = await records.read({ kind: 'manifest', repositoryId, digest }, waiting);
    const record = parseManifestRecord(document);
    const bytes = record && (await this.#verified(digest, waiting));
    if (!bytes) {
      links.forget(repositoryId, digest);
      return undefined;
    }
    links.add(repositoryId, digest);
    links.addCarried(repositoryId, document);
    return { digest, mediaType: record.mediaType, bytes };
  }

  async tag(repositoryId: RepositoryId, tag: Tag, waiting: Waiting): Promise<TagRecord | undefined> {
    const record = parseTagRecord(await this.#deps.records.read({ kind: 'tag', repositoryId, tag }, waiting), tag);
    return record && { ...record, confirmedAtMs: this.#past(record.confirmedAtMs) };
  }

  async visibility(repositoryId: RepositoryId, waiting: Waiting): Promise<VisibilityRecord | undefined> {
    const record = parseVisibilityRecord(await this.#deps.records.read({ kind: 'visibility', repositoryId }, waiting));
    return record && { ...record, askedAtMs: this.#past(record.askedAtMs) };
  }

  /** To be called when bytes that came from the bucket, alone or among others, are not those that the digest names. */
  failedVerification(digest: Digest): void {
    this.#distrusted.remember(digest, distrusted, distrustedForMs);
  }

  /** Whether the bucket may hold other bytes under this digest. */
  isDistrusted(digest: Digest): boolean {
    return this.#distrusted.get(digest) !== undefined;
  }

  /** The bucket holds verified bytes again. */
  trust(digest: Digest): void {
    this.#distrusted.forget(digest);
  }

  async #verified(digest: Digest, { signal }: Waiting): Promise<Uint8Array | undefined> {
    const { objects, layout } = this.#deps;
    const bytes = await objects.read(layout.blob(digest), { signal, maxBytes: maxManifestBytes });
    if (!bytes) return undefined;
    if (digestOf(bytes, algorithmOf(digest)) === digest) return bytes;
    this.failedVerification(digest);
    return undefined;
  }

  /** Times in the bucket are of other machines' clocks: none is in the future. */
  #past(atMs: number): number {
    return Math.min(atMs, this.#deps.clock.now());
  }
}
