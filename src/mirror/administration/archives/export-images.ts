import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom, isDigest } from '../../../oci/digest.ts';
import { blobFile, indexFile, layoutDocument, layoutFile, layoutIndexOf } from '../../../oci/image-layout.ts';
import type { NamedDescriptor } from '../../../oci/image-layout.ts';
import { type ImageName, imageText } from '../../../oci/image-name.ts';
import { maxManifestBytes } from '../../../oci/manifest.ts';
import type { Background } from '../../concurrency/background.ts';
import { loadWithin } from '../../concurrency/memory-budget.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import type { Memory } from '../../ports/memory.ts';
import { parseManifestRecord, type RecordStore } from '../../ports/record-store.ts';
import { type RepositoryId, repositoryKey } from '../../ports/repository-id.ts';
import type { Waiting } from '../../ports/waiting.ts';
import type { TagRecords } from '../../tags/tag-records.ts';
import { piecesOf } from '../../transfers/withheld-tail.ts';
import { cachedReferrers } from '../images/referrers.ts';
import { attestationsOf, chosenFrom, contentsOf, type Platform, platformText } from '../jobs/image-contents.ts';

export interface ExportOrder {
  readonly images: readonly ImageName[];
  /** Of image indexes; `stored`: those of which the manifest is stored. */
  readonly platforms: readonly Platform[] | 'all' | 'stored';
  /** Whether stored signatures, SBOMs, attestations and the like are exported as well. */
  readonly referrers: boolean;
}

/** What keeps an image from being exported. */
export interface MissingContent {
  readonly image: string;
  /** A digest, a tag or a platform. */
  readonly subject: string;
  readonly detail: string;
}

/** What an archive will have. */
export interface PlannedArchive {
  readonly index: string;
  /** Manifests and blobs, with their sizes. */
  readonly contents: ReadonlyMap<Digest, number>;
}

/** A file of the archive; its body is read once. */
export interface ArchivedFile {
  readonly name: string;
  readonly size: number;
  readonly body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface ExportDeps {
  readonly store: Pick<BlobStore, 'open' | 'readAll' | 'quarantine'>;
  readonly records: Pick<RecordStore, 'read'>;
  readonly tagRecords: Pick<TagRecords, 'get'>;
  readonly background: Pick<Background, 'settled'>;
  readonly memory: Memory;
  /** Contents of one archive; for tests. */
  readonly mostContents?: number;
}

const deepestIndex = 3;
const defaultMostContents = 100_000;
const pieceBytes = 256 * 1024;

/** Reads images from the store, as an OCI image layout. Nothing is fetched from an upstream. */
export class ExportImages {
  readonly #deps: ExportDeps;

  constructor(deps: ExportDeps) {
    this.#deps = deps;
  }

  /** @returns what is missing, if an image is not whole. @throws the signal's reason; UpstreamError when there is no memory. */
  async plan(order: ExportOrder, waiting: Waiting): Promise<PlannedArchive | readonly MissingContent[]> {
    const { mostContents = defaultMostContents } = this.#deps;
    await this.#deps.background.settled(); // What was just pulled is written in the background.
    const contents = new Map<Digest, number>();
    const listed: NamedDescriptor[] = [];
    const missing: MissingContent[] = [];
    for (const image of order.images) {
      const walk = new ImageWalk(image, order, { ...this.#deps, ...waiting, contents: new Map() });
      await walk.run();
      missing.push(...walk.missing);
      listed.push(...walk.listed);
      for (const [digest, size] of walk.contents) contents.set(digest, size);
      if (contents.size > mostContents)
        return [{ image: imageText(image), subject: '', detail: `an archive has at most ${mostContents} contents` }];
    }
    return missing.length > 0 ? missing : { index: layoutIndexOf(listed), contents };
  }

  /** The files of the archive. @throws Error when content is gone since it was planned, or damaged. */
  async *files({ index, contents }: PlannedArchive, { signal }: Waiting): AsyncGenerator<ArchivedFile> {
    for (const [name, text] of [
      [layoutFile, layoutDocument],
      [indexFile, index],
    ] as const) {
      const bytes = Buffer.from(text);
      yield { name, size: bytes.byteLength, body: [bytes] };
    }
    for (const [digest, size] of contents)
      yield { name: blobFile(digest), size, body: this.#body(digest, size, signal) };
  }

  async *#body(digest: Digest, size: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const { store } = this.#deps;
    await using stored = await store.open(digest);
    if (stored?.size !== size) throw new Error(`${digest} was evicted while it was exported`);
    const hash = createHash(algorithmOf(digest));
    const pieces = piecesOf(stored, pieceBytes);
    for (let step = await pieces.next(); step.done !== true; step = await pieces.next()) {
      signal.throwIfAborted();
      hash.update(step.value);
      yield step.value;
    }
    if (digestFrom(hash, algorithmOf(digest)) === digest) return;
    await store.quarantine(digest, 'read');
    throw new Error(`${digest} is damaged`);
  }
}

interface WalkDeps extends ExportDeps, Waiting {
  readonly contents: Map<Digest, number>;
}

interface Root {
  readonly digest: Digest;
  readonly mediaType: string;
}

/** Collects what one image has. */
class ImageWalk {
  readonly missing: MissingContent[] = [];
  readonly listed: NamedDescriptor[] = [];
  readonly contents: Map<Digest, number>;
  readonly #image: ImageName;
  readonly #order: ExportOrder;
  readonly #deps: WalkDeps;
  readonly #repositoryId: RepositoryId;

  constructor(image: ImageName, order: ExportOrder, deps: WalkDeps) {
    this.#image = image;
    this.#order = order;
    this.#deps = deps;
    this.contents = deps.contents;
    this.#repositoryId = { upstream: image.registry, repository: image.repository };
  }

  async run(): Promise<void> {
    const root = await this.#root();
    const subject = this.#image.reference;
    if (!root) return this.#lacks(subject, 'it is not cached');
    const size = await this.#manifest(root.digest, { depth: 0, isReferredTo: this.#order.referrers });
    if (size !== undefined) this.listed.unshift({ ...root, size, name: imageText(this.#image) });
  }

  async #root(): Promise<Root | undefined> {
    const { tagRecords, records } = this.#deps;
    const { reference } = this.#image;
    const repositoryId = this.#repositoryId;
    if (!isDigest(reference)) return tagRecords.get(repositoryId, reference);
    const record = parseManifestRecord(await records.read({ kind: 'manifest', repositoryId, digest: reference }));
    return record && { digest: reference, mediaType: record.mediaType };
  }

  /** @returns its size; undefined if it is not stored, which is noted. */
  async #manifest(
    digest: Digest,
    { depth, isReferredTo }: { readonly depth: number; readonly isReferredTo: boolean },
  ): Promise<number | undefined> {
    const { store, memory, signal } = this.#deps;
    const known = this.contents.get(digest);
    if (known !== undefined) return known;
    signal.throwIfAborted();
    const read = () => store.readAll(digest, maxManifestBytes);
    const bytes = await loadWithin(memory, maxManifestBytes, { signal }, read);
    if (!bytes) {
      this.#lacks(digest, 'the manifest is not cached');
      return undefined;
    }
    this.contents.set(digest, bytes.byteLength);
    const found = contentsOf(bytes);
    if (found.kind === 'too-large') this.#lacks(digest, 'the manifest names too much to be exported');
    else if (found.kind === 'index') await this.#children(digest, found.manifests, depth);
    else for (const blob of found.blobs) await this.#blob(blob);
    if (isReferredTo) await this.#referrers(digest);
    return bytes.byteLength;
  }

  async #children(digest: Digest, manifests: Parameters<typeof chosenFrom>[0], depth: number): Promise<void> {
    const { platforms, referrers } = this.#order;
    if (depth === deepestIndex) return this.#lacks(digest, 'image indexes are nested too deeply');
    const chosen = chosenFrom(manifests, platforms === 'stored' ? 'all' : platforms);
    for (const platform of chosen.missing) this.#lacks(platformText(platform), 'the image has no such platform');
    const stored = await this.#storedOf(chosen.manifests.map((one) => one.digest));
    const wanted = platforms === 'stored' ? chosen.manifests.filter((one) => stored.has(one.digest)) : chosen.manifests;
    if (wanted.length === 0 && chosen.manifests.length > 0) this.#lacks(digest, 'no image of the index is cached');
    for (const one of wanted) await this.#manifest(one.digest, { depth: depth + 1, isReferredTo: referrers });
    if (!referrers) return;
    for (const about of await this.#storedOf(attestationsOf(manifests, wanted))) await this.#ifWhole(about);
  }

  async #storedOf(digests: readonly Digest[]): Promise<ReadonlySet<Digest>> {
    const stored = new Set<Digest>();
    for (const digest of digests) if ((await this.#sizeOf(digest)) !== undefined) stored.add(digest);
    return stored;
  }

  async #sizeOf(digest: Digest): Promise<number | undefined> {
    await using opened = await this.#deps.store.open(digest);
    return opened?.size;
  }

  async #blob({ digest, size }: { readonly digest: Digest; readonly size: number }): Promise<void> {
    if (this.contents.has(digest)) return;
    this.#deps.signal.throwIfAborted();
    if ((await this.#sizeOf(digest)) !== size) return this.#lacks(digest, 'the blob is not cached');
    this.contents.set(digest, size);
  }

  /** What refers to a manifest, as far as it is cached whole. */
  async #referrers(subject: Digest): Promise<void> {
    const repositoryId = this.#repositoryId;
    const isStored = async (digest: Digest) => (await this.#sizeOf(digest)) !== undefined;
    const { referrers } = await cachedReferrers({ ...this.#deps, isStored }, repositoryId, subject);
    for (const { digest, mediaType, artifactType, tag } of referrers.filter((one) => one.isStored)) {
      const size = await this.#ifWhole(digest);
      if (size === undefined) continue;
      const name = tag && imageText({ ...this.#image, reference: tag });
      const named = name === undefined ? { repository: repositoryKey(repositoryId) } : { name };
      this.listed.push({ mediaType, digest, size, artifactType, ...named });
    }
  }

  /** Adds a manifest with what it names, or nothing of it. @returns its size. */
  async #ifWhole(digest: Digest): Promise<number | undefined> {
    const part = new ImageWalk(this.#image, this.#order, { ...this.#deps, contents: new Map() });
    const size = await part.#manifest(digest, { depth: deepestIndex, isReferredTo: false });
    if (size === undefined || part.missing.length > 0) return undefined;
    for (const [one, bytes] of part.contents) this.contents.set(one, bytes);
    return size;
  }

  #lacks(subject: string, detail: string): void {
    this.missing.push({ image: imageText(this.#image), subject, detail });
  }
}
