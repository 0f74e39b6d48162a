import { type Digest, isDigest } from '../../../oci/digest.ts';
import type { ImageName } from '../../../oci/image-name.ts';
import { isJsonObject, parseJsonObject } from '../../../oci/json.ts';
import { type Descriptor, isDescriptor, manifestShapeOf, maxManifestBytes } from '../../../oci/manifest.ts';
import { isMediaType, type MediaType } from '../../../oci/media-types.ts';
import type { BlobLinks } from '../../access/links.ts';
import type { Background } from '../../concurrency/background.ts';
import { loadWithin } from '../../concurrency/memory-budget.ts';
import type { Manifests } from '../../manifests/manifests.ts';
import type { LocatedRepository } from '../../mirror.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Memory } from '../../ports/memory.ts';
import {
  parseManifestRecord,
  parseReferrersRecord,
  parseTagRecord,
  parseVisibilityRecord,
  type RecordStore,
} from '../../ports/record-store.ts';
import type { RepositoryId } from '../../ports/repository-id.ts';
import type { Waiting } from '../../ports/waiting.ts';
import type { FreshnessPolicies } from '../../tags/freshness.ts';
import { tagKey, type TagRecords } from '../../tags/tag-records.ts';
import { contentsOf } from '../jobs/image-contents.ts';

export interface LinkImageDeps {
  readonly store: Pick<BlobStore, 'open' | 'readAll'>;
  readonly records: Pick<RecordStore, 'read' | 'write'>;
  readonly links: Pick<BlobLinks, 'record'>;
  readonly manifests: Pick<Manifests, 'keep'>;
  readonly tagRecords: Pick<TagRecords, 'get' | 'put'>;
  readonly policies: FreshnessPolicies;
  readonly background: Pick<Background, 'settled'>;
  readonly memory: Memory;
  readonly clock: Pick<Clock, 'now'>;
}

/** A stored manifest that is to be served by a repository. */
export interface ImageToLink {
  readonly located: LocatedRepository;
  /** Undefined for what refers to an image: it is found by its subject. */
  readonly name: ImageName | undefined;
  readonly descriptor: Descriptor;
  /** Whether a repository without a verdict counts as public. */
  readonly isPublic: boolean;
  /** What the archive has brought. */
  readonly arrived: ReadonlySet<Digest>;
}

export interface LinkedImage {
  readonly manifests: number;
  readonly blobs: number;
}

interface WholeImage {
  /** What is named before what names it. */
  readonly manifests: Map<Digest, MediaType>;
  readonly blobs: Map<Digest, number>;
}

const deepestIndex = 3;
const mostOfImage = 10_000;

/** Lets repositories serve stored images that an operator has brought. Blobs are linked first, then manifests, then the tag. */
export class LinkImage {
  readonly #deps: LinkImageDeps;

  constructor(deps: LinkImageDeps) {
    this.#deps = deps;
  }

  /** @returns why it cannot be served, if so: then nothing is linked. @throws the signal's reason when it aborts before. */
  async link(image: ImageToLink, waiting: Waiting): Promise<LinkedImage | string> {
    const { descriptor, located, name, arrived } = image;
    const whole: WholeImage = { manifests: new Map(), blobs: new Map() };
    const lacks = await this.#collect(descriptor, whole, { ...waiting, arrived, depth: 0 });
    if (lacks !== undefined) return lacks;
    const { repositoryId } = located;
    const { links, background } = this.#deps;
    for (const [digest, size] of whole.blobs) await links.record(repositoryId, digest, size);
    for (const [digest, mediaType] of whole.manifests) {
      const bytes = await this.#read(digest, waiting);
      if (!bytes) return whyEvicted(digest);
      this.#deps.manifests.keep(repositoryId, { digest, mediaType, bytes });
    }
    await background.settled();
    const lost = await this.#whyUnwritten(repositoryId, whole);
    if (lost !== undefined) return lost;
    if (image.isPublic) await this.#setPublic(repositoryId);
    if (name === undefined) await this.#listReferrer(image, waiting);
    else await this.#tag(image, name);
    await background.settled();
    await background.settled(); // The eviction that makes room for these records.
    const gone = await this.#whyUnwritten(repositoryId, whole);
    if (gone !== undefined) return gone;
    if (name !== undefined && !(await this.#isTagWritten(image, name))) return diskRefuses;
    return { manifests: whole.manifests.size, blobs: whole.blobs.size };
  }

  /** What is in memory only would be lost with this process. @returns why the store does not have the records of an image, if so. */
  async #whyUnwritten(repositoryId: RepositoryId, { manifests, blobs }: WholeImage): Promise<string | undefined> {
    const links = [
      ...Array.from(manifests.keys(), (digest) => ({ kind: 'manifest', repositoryId, digest }) as const),
      ...Array.from(blobs.keys(), (digest) => ({ kind: 'blob', repositoryId, digest }) as const),
    ];
    for (const key of links) {
      if ((await this.#deps.records.read(key)) !== undefined) continue;
      return (await this.#sizeOf(key.digest)) === undefined ? whyEvicted(key.digest) : diskRefuses;
    }
    return undefined;
  }

  /** Also if a client has moved the tag meanwhile. */
  async #isTagWritten({ located, descriptor }: ImageToLink, { reference: tag }: ImageName): Promise<boolean> {
    const { tagRecords, records } = this.#deps;
    const { repositoryId } = located;
    if (isDigest(tag) || (await tagRecords.get(repositoryId, tag))?.digest !== descriptor.digest) return true;
    const record = parseTagRecord(await records.read({ kind: 'tag', repositoryId, tag }), tag);
    return record?.digest === descriptor.digest;
  }

  /** Collects what an image has. Images of an index that are not stored are left out, if another is. @returns what is missing. */
  async #collect(
    { digest, mediaType: claimed }: Pick<Descriptor, 'digest' | 'mediaType'>,
    whole: WholeImage,
    { signal, arrived, depth }: Waiting & Pick<ImageToLink, 'arrived'> & { readonly depth: number },
  ): Promise<string | undefined> {
    signal.throwIfAborted();
    if (whole.manifests.has(digest)) return undefined;
    const bytes = await this.#read(digest, { signal });
    if (!bytes) return whyGone('manifest', digest, arrived);
    const shape = manifestShapeOf(bytes);
    const mediaType = shape?.mediaType ?? claimed;
    if (!shape?.hasManifestFields || !isMediaType(mediaType)) return `${digest} is no manifest`;
    const contents = contentsOf(bytes);
    if (contents.kind === 'too-large') return `the manifest ${digest} names too much`;
    if (contents.kind === 'index') {
      if (depth === deepestIndex) return 'image indexes are nested too deeply';
      const children = descriptorsIn(bytes);
      const stored = [];
      for (const child of children) if ((await this.#sizeOf(child.digest)) !== undefined) stored.push(child);
      if (stored.length === 0 && children.length > 0) return `no image of the index ${digest} is there`;
      for (const child of stored) {
        const lacks = await this.#collect(child, whole, { signal, arrived, depth: depth + 1 });
        if (lacks !== undefined) return lacks;
      }
    } else {
      for (const blob of contents.blobs) {
        if ((await this.#sizeOf(blob.digest)) !== blob.size) return whyGone('blob', blob.digest, arrived);
        whole.blobs.set(blob.digest, blob.size);
      }
    }
    whole.manifests.set(digest, mediaType);
    return whole.manifests.size + whole.blobs.size > mostOfImage ? 'the image has too many contents' : undefined;
  }

  #read(digest: Digest, waiting: Waiting): Promise<Uint8Array | undefined> {
    const { store, memory } = this.#deps;
    return loadWithin(memory, maxManifestBytes, waiting, () => store.readAll(digest, maxManifestBytes));
  }

  async #sizeOf(digest: Digest): Promise<number | undefined> {
    await using stored = await this.#deps.store.open(digest);
    return stored?.size;
  }

  /**
   * The tag is served, and its lifetime is over: the upstream has the last word as soon as it answers. What the upstream has confirmed of
   * the same digest stands.
   */
  async #tag({ located, descriptor }: ImageToLink, { reference: tag }: ImageName): Promise<void> {
    const { tagRecords } = this.#deps;
    const { repositoryId, upstream } = located;
    const { digest } = descriptor;
    if (isDigest(tag)) return;
    const before = await tagRecords.get(repositoryId, tag);
    if (before?.digest === digest) return;
    const manifest = parseManifestRecord(await this.#deps.records.read({ kind: 'manifest', repositoryId, digest }));
    if (manifest === undefined) return;
    const confirmedAtMs = this.#expiredAt(upstream.label, tagKey(repositoryId, tag));
    const { mediaType, size } = manifest;
    const record = { digest, mediaType, size, confirmedAtMs };
    tagRecords.put(repositoryId, tag, before ? { ...record, previous: before.digest } : record);
  }

  #expiredAt(label: string, key: string): number {
    const { clock, policies } = this.#deps;
    const lifetimeMs = policies.tagLifetimeMs(label, key);
    return Math.max(0, clock.now() - (Number.isFinite(lifetimeMs) ? lifetimeMs : 0));
  }

  /** A verdict that there is, of any age, stands. */
  async #setPublic(repositoryId: RepositoryId): Promise<void> {
    const { records, clock } = this.#deps;
    const key = { kind: 'visibility', repositoryId } as const;
    if (parseVisibilityRecord(await records.read(key)) !== undefined) return;
    await records.write(key, { verdict: 'public', askedAtMs: clock.now() });
  }

  async #listReferrer({ located, descriptor }: ImageToLink, waiting: Waiting): Promise<void> {
    const { repositoryId, upstream } = located;
    const bytes = await this.#read(descriptor.digest, waiting);
    const { subject, ...referrer } = (bytes && referrerIn(descriptor, bytes)) ?? {};
    if (subject === undefined || !isDescriptor(referrer)) return;
    const key = { kind: 'referrers', repositoryId, digest: subject } as const;
    const { referrers = [], fetchedAtMs = this.#expiredAt(upstream.label, tagKey(repositoryId, '')) } =
      parseReferrersRecord(await this.#deps.records.read(key)) ?? {};
    if (referrers.some((one) => one.digest === referrer.digest)) return;
    await this.#deps.records.write(key, { referrers: [...referrers, referrer], fetchedAtMs });
  }
}

const diskRefuses = 'the disk does not take its records now';

function whyEvicted(digest: Digest): string {
  return `${digest} was evicted while it was imported: the store has too little room`;
}

function whyGone(what: string, digest: Digest, arrived: ReadonlySet<Digest>): string {
  if (!arrived.has(digest)) return `the ${what} ${digest} is missing`;
  return `the ${what} ${digest} was evicted while the rest of the archive arrived: the store has too little room`;
}

function descriptorsIn(bytes: Uint8Array): readonly Descriptor[] {
  const manifests = parseJsonObject(bytes)?.['manifests'];
  return Array.isArray(manifests) ? manifests.filter(isDescriptor) : [];
}

/** distribution-spec, "Listing Referrers": what a list tells of a manifest with a subject. */
function referrerIn({ digest, size, mediaType }: Descriptor, bytes: Uint8Array) {
  const { subject, artifactType, config, annotations } = parseJsonObject(bytes) ?? {};
  if (!isDescriptor(subject)) return undefined;
  const type = typeof artifactType === 'string' ? artifactType : isDescriptor(config) ? config.mediaType : undefined;
  return {
    subject: subject.digest,
    mediaType,
    digest,
    size,
    ...(type !== undefined && { artifactType: type }),
    ...(isJsonObject(annotations) && { annotations }),
  };
}
