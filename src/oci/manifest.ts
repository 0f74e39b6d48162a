import { type Digest, isDigest } from './digest.ts';
import { acceptedManifests, isMediaType, type MediaType } from './media-types.ts';
import { isJsonObject, parseJsonObject } from './json.ts';

/** OCI image-spec, "Descriptor": the fields that the mirror reads. Others are kept unchanged. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly artifactType?: string;
  readonly [other: string]: unknown;
}

/** distribution-spec v1.1.1: registries should take manifests of at least 4 MiB; clients read no larger ones. */
export const maxManifestBytes = 4 * 1024 * 1024;

/** Docker allows 127 layers, and the largest image indexes list a few hundred manifests. */
export const maxNamed = 1_000;
/** Parsing this much blocks the event loop for about 10 ms. A manifest of {@link maxNamed} layers has a quarter of it. */
export const maxParsedBytes = 1024 * 1024;

/**
 * What a manifest names, each digest once: config, layers and index children. Not `subject`, which is not part of the image, and not
 * layers with `urls`, which clients fetch elsewhere (CVE-2020-15157: never follow those).
 * Bytes that are no manifest, or more than {@link maxParsedBytes}, name nothing, and only the first {@link maxNamed} digests count. The
 * manifest is served anyway.
 */
export function namedBy(bytes: Uint8Array): readonly Descriptor[] {
  const manifest = bytes.byteLength > maxParsedBytes ? undefined : parseJsonObject(bytes);
  if (!manifest) return [];
  const named = new Map<Digest, Descriptor>();
  for (const listed of [[manifest['config']], arrayOf(manifest['layers']), arrayOf(manifest['manifests'])]) {
    for (const descriptor of listed) {
      if (named.size === maxNamed) return [...named.values()];
      if (!isDescriptor(descriptor) || descriptor['urls'] !== undefined) continue;
      if (!named.has(descriptor.digest)) named.set(descriptor.digest, descriptor);
    }
  }
  return [...named.values()];
}

/** What lists tell of an image. */
export interface ImageFacts {
  readonly mediaType: MediaType | undefined;
  /** Of the manifest and what it names, except other manifests. */
  readonly bytes: number;
  /** The manifests that an image index names. */
  readonly images: readonly OfferedImage[];
}

export interface OfferedImage {
  readonly digest: Digest;
  /** Such as `linux/arm64/v8`; undefined if the index does not tell it, or says `unknown`. */
  readonly platform: string | undefined;
}

const isManifestType: ReadonlySet<string> = new Set(acceptedManifests);

/** @param named what the manifest names, by {@link namedBy}. Pure. */
export function imageFactsOf(size: number, named: readonly Descriptor[], mediaType?: MediaType): ImageFacts {
  const [images, others] = [true, false].map((isImage) =>
    named.filter((child) => isManifestType.has(child.mediaType) === isImage),
  );
  return {
    mediaType,
    bytes: (others ?? []).reduce((sum, child) => sum + child.size, size),
    images: (images ?? []).map(({ digest, platform }) => ({ digest, platform: platformIn(platform) })),
  };
}

const platformWord = /^(?!unknown$)[\w.-]{1,32}$/;

/** image-spec, "Image Index": `os`, `architecture` and perhaps `variant`. */
export function platformIn(value: unknown): string | undefined {
  if (!isJsonObject(value)) return undefined;
  const { os, architecture, variant } = value;
  const words = [os, architecture, ...(variant === undefined || variant === '' ? [] : [variant])];
  return words.every((word) => typeof word === 'string' && platformWord.test(word)) ? words.join('/') : undefined;
}

/** What is known of a manifest without its digest. */
export interface ManifestShape {
  /** Its field `mediaType`. */
  readonly mediaType: MediaType | undefined;
  /** Whether it has a field of a manifest. An error page in JSON has none. */
  readonly hasManifestFields: boolean;
  /** Whether it has the fields of Docker's first format, which has no field `mediaType`. */
  readonly isSchema1: boolean;
}

/** image-spec and Docker's schema 1 and 2: each kind of manifest has at least one of these. */
const manifestFields = ['schemaVersion', 'mediaType', 'config', 'layers', 'manifests', 'blobs'];

/** @returns undefined when the bytes are no JSON object: empty, cut or a page of HTML. */
export function manifestShapeOf(bytes: Uint8Array): ManifestShape | undefined {
  const manifest = parseJsonObject(bytes);
  if (!manifest) return undefined;
  const claimed = manifest['mediaType'];
  return {
    mediaType: isMediaType(claimed) ? claimed : undefined,
    hasManifestFields: manifestFields.some((field) => manifest[field] !== undefined),
    isSchema1: manifest['schemaVersion'] === 1,
  };
}

export function isDescriptor(value: unknown): value is Descriptor {
  return (
    isJsonObject(value) &&
    isDigest(value['digest']) &&
    typeof value['mediaType'] === 'string' &&
    Number.isSafeInteger(value['size']) &&
    Number(value['size']) >= 0
  );
}

function arrayOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
