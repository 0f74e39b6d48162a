import { algorithmOf, type Digest, hexOf, isDigest } from './digest.ts';
import { isJsonObject, parseJsonObject } from './json.ts';
import { type Descriptor, isDescriptor } from './manifest.ts';

/** image-spec, "Image Layout": the files of a layout besides its blobs. */
export const layoutFile = 'oci-layout';
export const indexFile = 'index.json';
export const layoutDocument = JSON.stringify({ imageLayoutVersion: '1.0.0' });

/** The repository of a manifest that has no name of its own: something that refers to an image. */
const repositoryAnnotation = 'layerwell.repository';
/** What containerd and Docker, and what containers/image (skopeo, podman) and regctl take an image's name from. */
const nameAnnotations = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'] as const;

/** `blobs/sha256/<hex>`. Pure. */
export function blobFile(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/** What a file of an archive is, by its name and its type in the archive. */
export type LayoutEntry =
  | { readonly kind: 'document'; readonly name: typeof layoutFile | typeof indexFile }
  | { readonly kind: 'blob'; readonly digest: Digest }
  /** A folder, or what `docker save` adds for older versions. */
  | { readonly kind: 'ignored' }
  | { readonly kind: 'refused' };

const folders = /^(?:\.|blobs|blobs\/(?:sha256|sha512))$/;
const ofDockerSave: ReadonlySet<string> = new Set(['manifest.json', 'repositories']);

/** Pure. */
export function layoutEntryOf({ name, type }: { readonly name: string; readonly type: string }): LayoutEntry {
  const path = name.replace(/^\.\/(?=.)/, '');
  if (type === 'directory') return { kind: folders.test(path.replace(/\/$/, '')) ? 'ignored' : 'refused' };
  if (type !== 'file') return { kind: 'refused' };
  if (path === layoutFile || path === indexFile) return { kind: 'document', name: path };
  if (ofDockerSave.has(path)) return { kind: 'ignored' };
  const [, algorithm = '', hex = ''] = /^blobs\/([a-z0-9]+)\/([a-f0-9]+)$/.exec(path) ?? [];
  const digest = `${algorithm}:${hex}`;
  return isDigest(digest) ? { kind: 'blob', digest } : { kind: 'refused' };
}

/** A manifest that the index of a layout lists. */
export interface LayoutManifest {
  readonly descriptor: Descriptor;
  /** Its full name, as it is written there. */
  readonly name: string | undefined;
  /** `<registry>/<repository>`, for what has no name. */
  readonly repository: string | undefined;
}

/** @returns undefined when the bytes are no index of a layout. Pure. */
export function layoutManifestsIn(bytes: Uint8Array): readonly LayoutManifest[] | undefined {
  const listed = parseJsonObject(bytes)?.['manifests'];
  if (!Array.isArray(listed) || !listed.every(isDescriptor)) return undefined;
  return listed.map((descriptor) => {
    const annotations = isJsonObject(descriptor['annotations']) ? descriptor['annotations'] : {};
    const texts = [...nameAnnotations, repositoryAnnotation].map((key) => annotations[key]);
    const [name, referenceName, repository] = texts.map((text) => (typeof text === 'string' ? text : undefined));
    return { descriptor, name: name ?? referenceName, repository };
  });
}

/** Whether the bytes are the file that says that this is a layout of a known version. Pure. */
export function isLayoutDocument(bytes: Uint8Array): boolean {
  return parseJsonObject(bytes)?.['imageLayoutVersion'] === '1.0.0';
}

/** A manifest in the index of a layout that is written, with its name or its repository. */
export type NamedDescriptor = Pick<Descriptor, 'mediaType' | 'digest' | 'size'> & {
  readonly artifactType?: string | undefined;
} & ({ readonly name: string } | { readonly repository: string });

/** The file `index.json`. Pure. */
export function layoutIndexOf(manifests: readonly NamedDescriptor[]): string {
  const listed = manifests.map(({ mediaType, digest, size, artifactType, ...named }) => ({
    mediaType,
    digest,
    size,
    ...(artifactType !== undefined && { artifactType }),
    annotations:
      'name' in named
        ? Object.fromEntries(nameAnnotations.map((key) => [key, named.name]))
        : { [repositoryAnnotation]: named.repository },
  }));
  return JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: listed });
}
