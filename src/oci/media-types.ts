export const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
export const ociIndex = 'application/vnd.oci.image.index.v1+json';
export const dockerManifest = 'application/vnd.docker.distribution.manifest.v2+json';
export const dockerManifestList = 'application/vnd.docker.distribution.manifest.list.v2+json';

/**
 * What the mirror asks every upstream for, whatever its client accepts: one constant list, so that what a tag means never
 * depends on who asked first (GitLab's dependency proxy cached only x86_64 until 16.3 because it did).
 */
export const acceptedManifests: readonly string[] = [ociIndex, dockerManifestList, ociManifest, dockerManifest];

/** `text/html; charset=utf-8` → `text/html`. */
export function withoutParameters(mediaType: string): string {
  return (mediaType.split(';')[0] ?? '').trim();
}
