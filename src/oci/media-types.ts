declare const checked: unique symbol;
/** `type/subtype` without parameters, checked: ASCII, at most 255 characters, safe as a header. Made only by {@link mediaTypeIn} and {@link isMediaType}. */
export type MediaType = string & { readonly [checked]: 'MediaType' };

/** RFC 6838 §4.2: each name at most 127 characters. */
const grammar = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;

export function isMediaType(text: unknown): text is MediaType {
  return typeof text === 'string' && grammar.test(text);
}

/** `text/html; charset=utf-8` → `text/html`. @returns undefined when it is no media type. */
export function mediaTypeIn(text: string | undefined): MediaType | undefined {
  const name = (text?.split(';', 1)[0] ?? '').trim();
  return isMediaType(name) ? name : undefined;
}

export const ociManifest = known('application/vnd.oci.image.manifest.v1+json');
export const ociIndex = known('application/vnd.oci.image.index.v1+json');
export const dockerManifest = known('application/vnd.docker.distribution.manifest.v2+json');
export const dockerManifestList = known('application/vnd.docker.distribution.manifest.list.v2+json');

/**
 * The Accept header of every upstream request, whatever the client accepts: otherwise the meaning of a tag would depend on the first
 * client (GitLab's dependency proxy cached only x86_64 until 16.3 for that reason). The last two are the artifact manifests that image-spec
 * v1.1 removed; some registries still have them (ACR, ORAS).
 */
export const acceptedManifests: readonly MediaType[] = [
  ociIndex,
  dockerManifestList,
  ociManifest,
  dockerManifest,
  known('application/vnd.oci.artifact.manifest.v1+json'),
  known('application/vnd.cncf.oras.artifact.manifest.v1+json'),
];

/** Docker's first format, which names no blobs by descriptor and whose signed form is not the bytes of its digest. */
export function isSchema1(mediaType: MediaType): boolean {
  return /^application\/vnd\.docker\.distribution\.manifest\.v1\+(?:json|prettyjws)$/.test(mediaType);
}

function known(name: string): MediaType {
  if (!isMediaType(name)) throw new Error(`${name} is no media type`);
  return name;
}
