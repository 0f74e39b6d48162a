import { type Digest, isDigest } from './digest.ts';

/** OCI image-spec, "Descriptor", as far as the mirror looks at it. Everything else of it is kept as it came. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly artifactType?: string;
  readonly [other: string]: unknown;
}

/** distribution-spec v1.1.1: registries should take manifests of at least 4 MiB; clients read no larger ones. */
export const maxManifestBytes = 4 * 1024 * 1024;

/**
 * The digests a manifest names: config, layers and index children. Not `subject`, which is not part of the image, and not
 * layers with `urls`, which clients fetch elsewhere (CVE-2020-15157: never follow those).
 * Bytes that are no manifest name nothing.
 */
export function namedBy(bytes: Uint8Array): readonly Descriptor[] {
  const manifest = parseJsonObject(bytes);
  if (!manifest) return [];
  const listed = [manifest['config'], ...arrayOf(manifest['layers']), ...arrayOf(manifest['manifests'])];
  return listed.filter(isDescriptor).filter((descriptor) => descriptor['urls'] === undefined);
}

/** The media type a manifest claims for itself, where it does. */
export function claimedMediaType(bytes: Uint8Array): string | undefined {
  const claimed = parseJsonObject(bytes)?.['mediaType'];
  return typeof claimed === 'string' ? claimed : undefined;
}

export function isDescriptor(value: unknown): value is Descriptor {
  return (
    isObject(value) &&
    isDigest(value['digest']) &&
    typeof value['mediaType'] === 'string' &&
    Number.isSafeInteger(value['size']) &&
    Number(value['size']) >= 0
  );
}

function parseJsonObject(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function arrayOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
