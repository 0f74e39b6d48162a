import type { Digest } from '../../../oci/digest.ts';
import { OciError } from '../../../oci/errors.ts';
import {
  indexFile,
  isLayoutDocument,
  layoutEntryOf,
  layoutFile,
  type LayoutManifest,
  layoutManifestsIn,
} from '../../../oci/image-layout.ts';
import { type ImageName, imageText, parseImageName } from '../../../oci/image-name.ts';
import { parseHostName } from '../../../oci/reference.ts';
import type { LocatedRepository, Mirror } from '../../mirror.ts';
import { type RepositoryId, repositoryNamed } from '../../ports/repository-id.ts';
import type { Waiting } from '../../ports/waiting.ts';
import { type ImageToLink, LinkImage, type LinkImageDeps } from './link-image.ts';
import { ArchiveRefused, StoreBlobs, type StoreBlobsDeps } from './store-blobs.ts';

/** A file of an archive, as the archive tells it: nothing is checked yet. Its body must be read before the next one is asked for. */
export interface ArchiveEntry {
  readonly name: string;
  readonly type: string;
  readonly size: number;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface ImportOrder {
  /** The names under which images are imported, by those in the archive. */
  readonly names: ReadonlyMap<string, ImageName>;
  /** Whether repositories without a verdict are public from now on. */
  readonly isPublic: boolean;
}

export interface ImportedImage {
  readonly image: string;
  readonly digest: Digest;
  /** Why it is not served; undefined if it is. */
  readonly problem: string | undefined;
  readonly manifests: number;
  readonly blobs: number;
}

export interface Imported {
  readonly images: readonly ImportedImage[];
  /** How many contents were written, and their bytes; and how many were stored already. */
  readonly written: number;
  readonly bytes: number;
  readonly present: number;
}

export interface ImportDeps extends StoreBlobsDeps, LinkImageDeps {
  readonly store: StoreBlobsDeps['store'] & LinkImageDeps['store'];
  readonly clock: StoreBlobsDeps['clock'];
  readonly mirror: Pick<Mirror, 'locate'>;
}

/** `index.json` for a thousand images has half of that. */
const mostDocumentBytes = 1024 * 1024;
const mostEntries = 200_000;
const mostImages = 1_000;
/** Of so many contents it is remembered that they arrived: more than the images of an archive usually have, in 4 MB. */
const mostRemembered = 20_000;

/** Takes images from an OCI image layout: each content is verified before it is visible, and what the index names is linked at the end. */
export class ImportImages {
  readonly #deps: ImportDeps;
  readonly #blobs: StoreBlobs;
  readonly #links: LinkImage;

  constructor(deps: ImportDeps) {
    this.#deps = deps;
    this.#blobs = new StoreBlobs(deps);
    this.#links = new LinkImage(deps);
  }

  /** @throws ArchiveRefused; NoRoom; the file system's error; what the entries throw; the signal's reason. */
  async run(entries: AsyncIterable<ArchiveEntry>, order: ImportOrder, waiting: Waiting): Promise<Imported> {
    const { documents, arrived, ...counts } = await this.#store(entries, waiting);
    const listed = manifestsIn(documents);
    const images: ImportedImage[] = [];
    // What is referred to comes before what refers to it.
    for (const one of listed) images.push(await this.#link(one, { ...order, arrived }, waiting));
    return { images, ...counts };
  }

  async #store(entries: AsyncIterable<ArchiveEntry>, { signal }: Waiting) {
    const documents = new Map<string, Uint8Array>();
    const arrived = new Set<Digest>();
    const counts = { written: 0, bytes: 0, present: 0 };
    let count = 0;
    for await (const { name, type, size, body } of entries) {
      signal.throwIfAborted();
      count += 1;
      if (count > mostEntries) throw new ArchiveRefused(`the archive has more than ${mostEntries} files`);
      const entry = layoutEntryOf({ name, type });
      if (entry.kind === 'refused') throw new ArchiveRefused(`an OCI image layout has no ${type} "${cut(name)}"`);
      if (entry.kind === 'document') {
        if (documents.has(entry.name)) throw new ArchiveRefused(`the archive has ${entry.name} twice`);
        documents.set(entry.name, await documentIn(entry.name, size, body));
      } else if (entry.kind === 'blob') {
        const isNew = (await this.#blobs.store({ digest: entry.digest, size, body })) === 'stored';
        if (isNew) counts.bytes += size;
        if (arrived.size < mostRemembered) arrived.add(entry.digest);
        counts[isNew ? 'written' : 'present'] += 1;
      } else for await (const _ of body);
    }
    return { documents, arrived, ...counts };
  }

  async #link(
    listed: LayoutManifest,
    { names, isPublic, arrived }: ImportOrder & Pick<ImageToLink, 'arrived'>,
    waiting: Waiting,
  ): Promise<ImportedImage> {
    const { descriptor } = listed;
    const place = placeOf(listed, names);
    const image = typeof place === 'string' ? (listed.name ?? descriptor.digest) : place.text;
    const told = { image: cut(image), digest: descriptor.digest, manifests: 0, blobs: 0 };
    if (typeof place === 'string') return { ...told, problem: place };
    const located = this.#locate(place.repositoryId);
    if (typeof located === 'string') return { ...told, problem: located };
    const linked = await this.#links.link({ located, name: place.name, descriptor, isPublic, arrived }, waiting);
    return typeof linked === 'string' ? { ...told, problem: linked } : { ...told, ...linked, problem: undefined };
  }

  #locate({ upstream, repository }: RepositoryId): LocatedRepository | string {
    const namespace = parseHostName(upstream);
    const isNone = `${cut(upstream)} is no upstream of this mirror`;
    if (namespace === undefined) return isNone;
    try {
      return this.#deps.mirror.locate({ namespace, host: undefined, pathPrefix: undefined, name: repository });
    } catch (cause) {
      if (cause instanceof OciError) return isNone;
      throw cause;
    }
  }
}

interface Place {
  readonly repositoryId: RepositoryId;
  readonly name: ImageName | undefined;
  readonly text: string;
}

/** Where a manifest of an archive belongs; or why that is not known. */
function placeOf({ name, repository, descriptor }: LayoutManifest, names: ImportOrder['names']): Place | string {
  const renamed = names.get(name ?? descriptor.digest);
  if (renamed === undefined && name === undefined) return repository === undefined ? unnamed : placeIn(repository);
  const full = renamed ?? (isFullName(name ?? '') ? parseImageName(name ?? '') : unnamed);
  if (typeof full === 'string') return full;
  return { name: full, text: imageText(full), repositoryId: { upstream: full.registry, repository: full.repository } };
}

const unnamed = 'the archive does not tell its full name: give it one';

/** `nginx` alone may be of any registry. */
function isFullName(name: string): boolean {
  return /^[^/]*(?:[.:][^/]*|localhost)\/.*[:@]/.test(name);
}

function placeIn(repository: string): Place | string {
  try {
    const repositoryId = repositoryNamed(repository);
    return { repositoryId, name: undefined, text: repository };
  } catch (cause) {
    if (cause instanceof OciError) return `"${cut(repository)}" is no name of a repository`;
    throw cause;
  }
}

/** @throws ArchiveRefused */
function manifestsIn(documents: ReadonlyMap<string, Uint8Array>): readonly LayoutManifest[] {
  const [layout, index] = [documents.get(layoutFile), documents.get(indexFile)];
  if (!layout || !isLayoutDocument(layout)) throw new ArchiveRefused(`${layoutFile} is missing, or of another version`);
  const listed = index && layoutManifestsIn(index);
  if (!listed) throw new ArchiveRefused(`${indexFile} is missing, or is no image index`);
  if (listed.length > mostImages) throw new ArchiveRefused(`${indexFile} lists more than ${mostImages} manifests`);
  return listed;
}

async function documentIn(name: string, size: number, body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  if (size > mostDocumentBytes) throw new ArchiveRefused(`${name} has more than ${mostDocumentBytes} bytes`);
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  return Buffer.concat(pieces);
}

const longestName = 256;

function cut(text: string): string {
  return text.length > longestName ? `${text.slice(0, longestName)}…` : text;
}
