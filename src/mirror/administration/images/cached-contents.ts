import type { Digest } from '../../../oci/digest.ts';
import { maxManifestBytes } from '../../../oci/manifest.ts';
import { unlessUnreadable } from '../../blobs/served-blob.ts';
import { loadWithin } from '../../concurrency/memory-budget.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import type { Memory } from '../../ports/memory.ts';
import type { Observer } from '../../ports/observer.ts';
import type { RecordStore } from '../../ports/record-store.ts';
import { type RepositoryId, repositoryKey } from '../../ports/repository-id.ts';
import type { Catalogue, ContentDetails } from '../../ports/store-index.ts';
import type { Waiting } from '../../ports/waiting.ts';
import { maxConfigBytes } from './image-documents.ts';

export interface CachedContentsDeps {
  readonly store: Pick<BlobStore, 'open' | 'readAll'>;
  readonly index: Pick<Catalogue, 'details'>;
  readonly memory: Memory;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly records: Pick<RecordStore, 'read'>;
  /** Content counts as stored only if this repository may serve it; undefined: whoever has it. */
  readonly onlyOf: RepositoryId | undefined;
}

/** Who else has a layer. */
export interface SharedBy {
  /** Other repositories that are linked to it: the first few. */
  readonly repositories: readonly RepositoryId[];
  readonly moreRepositories: number;
  /** Other stored manifests that name it: the first few. */
  readonly images: readonly SharingImage[];
  readonly moreImages: number;
}

export interface SharingImage {
  readonly digest: Digest;
  /** A repository that has it, and a tag there; undefined where the index knows none. */
  readonly repositoryId: RepositoryId | undefined;
  readonly tag: string | undefined;
}

const mostShared = 10;
/** Looked up by name for one answer. */
const mostNamed = 50;

/** What the store and the index have of the contents of one answer. A disk that fails counts as not having it, and is reported. */
export class CachedContents {
  readonly #deps: CachedContentsDeps;
  readonly #details = new Map<Digest, ContentDetails | undefined>();
  readonly #names = new Map<Digest, SharingImage>();

  constructor(deps: CachedContentsDeps) {
    this.#deps = deps;
  }

  /** The bytes of a manifest, verified. */
  manifest(digest: Digest, size: number | undefined, waiting: Waiting): Promise<Uint8Array | undefined> {
    return this.#bytesOf(digest, Math.min(size ?? maxManifestBytes, maxManifestBytes), waiting);
  }

  /** The bytes of a config, verified; undefined also for one that is too large to be read, or larger than its manifest says. */
  async config({ digest, size }: Sized, waiting: Waiting): Promise<Uint8Array | undefined> {
    return size > maxConfigBytes ? undefined : this.#bytesOf(digest, size, waiting);
  }

  /** Whether content is stored. An index that is not complete may not know it: then the disk is asked. */
  async isStored(digest: Digest): Promise<boolean> {
    if (!(await this.#mayTell(digest))) return false;
    if ((await this.details(digest))?.content) return true;
    const { observer, store } = this.#deps;
    await using opened = await unlessUnreadable(observer, 'image details', () => store.open(digest));
    return opened !== undefined;
  }

  /** What the index knows of it; undefined if it cannot be read now. */
  async details(digest: Digest): Promise<ContentDetails | undefined> {
    const known = this.#details.get(digest);
    if (known) return known;
    const details = await this.#deps.index.details(digest);
    this.#details.set(digest, details);
    return details;
  }

  /** Who else has a layer of an image. Pulls of others are answered between two looks into the index. */
  async sharedBy(
    digest: Digest,
    own: { readonly repositoryId: RepositoryId; readonly manifest: Digest },
  ): Promise<SharedBy> {
    const { linkedBy = [], namedBy = [] } = (await this.details(digest)) ?? {};
    const ownKey = repositoryKey(own.repositoryId);
    const repositories = [...new Map(linkedBy.map((one) => [repositoryKey(one), one]))].filter(
      ([key]) => key !== ownKey,
    );
    const images = namedBy.filter((parent) => parent !== own.manifest);
    const named: SharingImage[] = [];
    for (const parent of images.slice(0, mostShared)) named.push(await this.#named(parent));
    return {
      repositories: repositories.slice(0, mostShared).map(([, repositoryId]) => repositoryId),
      moreRepositories: Math.max(0, repositories.length - mostShared),
      images: named,
      moreImages: Math.max(0, images.length - mostShared),
    };
  }

  async #named(digest: Digest): Promise<SharingImage> {
    const known = this.#names.get(digest);
    if (known) return known;
    if (this.#names.size >= mostNamed) return { digest, repositoryId: undefined, tag: undefined };
    const { tags = [], linkedBy = [] } = (await this.#deps.index.details(digest)) ?? {};
    const image = { digest, repositoryId: tags[0]?.repositoryId ?? linkedBy[0], tag: tags[0]?.tag };
    this.#names.set(digest, image);
    return image;
  }

  async #bytesOf(digest: Digest, size: number, waiting: Waiting): Promise<Uint8Array | undefined> {
    if (!(await this.#mayTell(digest))) return undefined;
    const { store, memory, observer } = this.#deps;
    const read = () => unlessUnreadable(observer, 'image details', () => store.readAll(digest, size));
    return loadWithin(memory, size, waiting, read);
  }

  /** An image may name content of repositories that others must not know of. */
  async #mayTell(digest: Digest): Promise<boolean> {
    const { records, onlyOf: repositoryId } = this.#deps;
    if (repositoryId === undefined) return true;
    const read = (kind: 'manifest' | 'blob') => records.read({ kind, repositoryId, digest });
    return (await read('manifest')) !== undefined || (await read('blob')) !== undefined;
  }
}

interface Sized {
  readonly digest: Digest;
  readonly size: number;
}
