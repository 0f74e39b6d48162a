import { type Digest, isDigest } from '../../../oci/digest.ts';
import { isJsonObject, type JsonObject, parseJsonObject } from '../../../oci/json.ts';
import { type Descriptor, isDescriptor, maxNamed, maxParsedBytes, namedBy } from '../../../oci/manifest.ts';

/** A platform as `docker pull --platform` names it. Without a variant it stands for all of them. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string | undefined;
}

/** A manifest that an index lists. */
export interface ListedManifest {
  readonly digest: Digest;
  /** Undefined where the index does not say it. */
  readonly platform: Platform | undefined;
  /** The manifest in the same index that this one tells about, such as its SBOM or provenance: BuildKit's attestations. */
  readonly attests: Digest | undefined;
}

/** What a manifest names. */
export type ImageContents =
  | { readonly kind: 'index'; readonly manifests: readonly ListedManifest[] }
  | {
      readonly kind: 'manifest';
      readonly blobs: readonly Descriptor[];
      /** Layers that clients fetch elsewhere (`urls`): the mirror never has them. */
      readonly foreign: readonly Digest[];
    }
  /** It is too large to be read, or names too much. */
  | { readonly kind: 'too-large' };

/** What an image index or a manifest names. Pure. */
export function contentsOf(bytes: Uint8Array): ImageContents {
  if (bytes.byteLength > maxParsedBytes) return { kind: 'too-large' };
  const named = namedBy(bytes);
  if (named.length >= maxNamed) return { kind: 'too-large' };
  const { manifests, layers } = parseJsonObject(bytes) ?? {};
  if (Array.isArray(manifests)) return { kind: 'index', manifests: named.map(listedIn) };
  const foreign = (Array.isArray(layers) ? layers : []).filter(isDescriptor).filter(({ urls }) => urls !== undefined);
  return { kind: 'manifest', blobs: named, foreign: foreign.map(({ digest }) => digest) };
}

function listedIn({ digest, platform, annotations }: Descriptor): ListedManifest {
  const attests = isJsonObject(annotations) ? annotations['vnd.docker.reference.digest'] : undefined;
  const isAttestation = isDigest(attests);
  return {
    digest,
    platform: isAttestation || !isJsonObject(platform) ? undefined : platformIn(platform),
    attests: isAttestation ? attests : undefined,
  };
}

function platformIn({ os, architecture, variant }: JsonObject): Platform | undefined {
  if (typeof os !== 'string' || typeof architecture !== 'string') return undefined;
  return { os, architecture, variant: typeof variant === 'string' && variant !== '' ? variant : undefined };
}

const otherNames: Readonly<Record<string, string>> = { x86_64: 'amd64', 'x86-64': 'amd64', aarch64: 'arm64' };
const grammar = /^([a-z0-9]{1,32})\/([a-z0-9_-]{1,32})(?:\/([a-z0-9.]{1,32}))?$/;

/** `linux/arm/v7` → its parts. @returns undefined when it is no platform. Pure. */
export function parsePlatform(text: string): Platform | undefined {
  const [, os, name, variant] = grammar.exec(text) ?? [];
  return os === undefined || name === undefined ? undefined : { os, architecture: otherNames[name] ?? name, variant };
}

/** Pure. */
export function platformText({ os, architecture, variant }: Platform): string {
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/');
}

export interface Chosen {
  readonly manifests: readonly ListedManifest[];
  /** The wanted platforms that the index does not have. */
  readonly missing: readonly Platform[];
}

/**
 * The manifests of an index for the wanted platforms. Those without a platform may be for any of them. Attestations are only of use to
 * who verifies, and are no platforms. Pure.
 */
export function chosenFrom(listed: readonly ListedManifest[], wanted: readonly Platform[] | 'all'): Chosen {
  const images = listed.filter(({ attests }) => attests === undefined);
  if (wanted === 'all') return { manifests: images, missing: [] };
  const isWanted = ({ platform }: ListedManifest) =>
    platform === undefined || wanted.some((one) => isOf(platform, one));
  const missing = wanted.filter((one) => !images.some(({ platform }) => platform !== undefined && isOf(platform, one)));
  return { manifests: images.filter(isWanted), missing };
}

/** What is meant without a variant: github.com/containerd/platforms, "normalizeArch". */
const usualVariant: Readonly<Record<string, string>> = { amd64: 'v1', arm: 'v7', arm64: 'v8' };

function isOf({ os, architecture, variant }: Platform, wanted: Platform): boolean {
  if (os !== wanted.os || (otherNames[architecture] ?? architecture) !== wanted.architecture) return false;
  return wanted.variant === undefined || (variant ?? usualVariant[wanted.architecture]) === wanted.variant;
}

/** The attestations in an index about these manifests. Pure. */
export function attestationsOf(
  listed: readonly ListedManifest[],
  chosen: readonly ListedManifest[],
): readonly Digest[] {
  const digests = new Set<Digest | undefined>(chosen.map(({ digest }) => digest));
  return listed.filter(({ attests }) => attests !== undefined && digests.has(attests)).map(({ digest }) => digest);
}
