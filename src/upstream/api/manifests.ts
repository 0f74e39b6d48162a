import type { FetchedManifest, ManifestHead } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestOf, isDigest } from '../../oci/digest.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import { type ManifestShape, manifestShapeOf, maxManifestBytes } from '../../oci/manifest.ts';
import { acceptedManifests, isSchema1, type MediaType, mediaTypeIn } from '../../oci/media-types.ts';
import type { Reference, Repository } from '../../oci/reference.ts';
import { contentLengthOf, headerOf, type Answer } from '../transport/answer.ts';
import { readAtMost } from '../transport/read-at-most.ts';
import type { RegistryRequest, Requests } from './requests.ts';

/** @throws OciError MANIFEST_UNKNOWN, NAME_UNKNOWN or DENIED; UpstreamError. */
export async function headManifest(
  requests: Requests,
  repository: Repository,
  reference: Reference,
  options: Waiting,
): Promise<ManifestHead> {
  if (requests.hasNoHead('manifest')) return headByGet(requests, repository, reference, options);
  const answer = await requests.ask(manifestRequest(requests, 'HEAD', repository, reference), options);
  if (answer.status === 200) {
    requests.recordHead('manifest', 'answered');
    return headIn(answer, reference);
  }
  if (!mayGetDiffer(answer)) throw await requests.failureOf(answer, 'MANIFEST_UNKNOWN');
  const head = await headByGet(requests, repository, reference, options);
  requests.recordHead('manifest', answer.status);
  return head;
}

function headIn(answer: Answer, reference: Reference): ManifestHead {
  const mediaType = typeInHeaders(answer);
  return {
    digest: isDigest(reference) ? confirmed(reference, answer) : digestIn(answer),
    mediaType,
    size: contentLengthOf(answer.headers),
  };
}

/**
 * By digest the bytes must match the digest, and nothing else is checked. By tag they must be a manifest: failing upstreams and proxies send
 * empty or truncated bodies and error pages with a manifest's type.
 * @throws OciError MANIFEST_UNKNOWN, NAME_UNKNOWN or DENIED; UpstreamError, `misbehaving` for other bytes than requested.
 */
export async function getManifest(
  requests: Requests,
  repository: Repository,
  reference: Reference,
  options: Waiting,
): Promise<FetchedManifest> {
  const answer = await requests.ask(manifestRequest(requests, 'GET', repository, reference), options);
  if (answer.status !== 200) throw await requests.failureOf(answer, 'MANIFEST_UNKNOWN');
  const bytes = await readAtMost(answer, maxManifestBytes, options);
  const digest = verifiedDigest(bytes, reference, answer);
  const headerType = typeInHeaders(answer);
  if (isDigest(reference) && headerType) return { digest, mediaType: headerType, bytes };
  const shape = manifestShapeOf(bytes);
  const mediaType = headerType ?? manifestType(shape?.mediaType);
  if (mediaType && isSchema1(mediaType)) throw unsupported(answer.url);
  const isManifest = isDigest(reference) || isManifestShape(shape, answer);
  if (!isManifest || !mediaType) throw noManifest(answer);
  return { digest, mediaType, bytes };
}

/** If the registry names the digest, the bytes are accepted unparsed: a future media type may have other fields. */
function isManifestShape(shape: ManifestShape | undefined, answer: Answer): boolean {
  return shape !== undefined && (shape.hasManifestFields || digestIn(answer) !== undefined);
}

function manifestRequest(
  requests: Requests,
  method: 'GET' | 'HEAD',
  repository: Repository,
  reference: Reference,
): RegistryRequest {
  const headers = { accept: acceptedManifests.join(', ') };
  return { method, url: requests.urlOf(repository, `manifests/${reference}`), kind: 'manifest', repository, headers };
}

async function headByGet(...request: Parameters<typeof getManifest>): Promise<ManifestHead> {
  const fetched = await getManifest(...request);
  return { digest: fetched.digest, mediaType: fetched.mediaType, size: fetched.bytes.length, fetched };
}

/** A refused account, a rate limit or an outage: a GET would fail in the same way. */
const sameForGet: ReadonlySet<number> = new Set([401, 429, 502, 503, 504]);

/**
 * Whether a GET may succeed after this HEAD was refused. Registries without HEAD answer 405 or 501 (RFC 9110 §15.5.6, §15.6.2); others answer
 * 400, 404, 406, 411 or 500, or redirect the HEAD to an object store whose URL is signed for GET only (403).
 */
export function mayGetDiffer({ status }: Answer): boolean {
  return !sameForGet.has(status);
}

/** By digest the bytes must match it; by tag they must match the digest in the headers, if the mirror can verify it. */
function verifiedDigest(bytes: Uint8Array, reference: Reference, answer: Answer): Digest {
  const promised = isDigest(reference) ? reference : digestIn(answer);
  const digest = digestOf(bytes, promised && algorithmOf(promised));
  if (promised === undefined || digest === promised) return digest;
  throw new UpstreamError('misbehaving', `${answer.url.host} sent other bytes than ${promised}`);
}

function confirmed(digest: Digest, answer: Answer): Digest {
  const reported = digestIn(answer);
  const isOther = reported !== undefined && algorithmOf(reported) === algorithmOf(digest) && reported !== digest;
  if (isOther)
    throw new UpstreamError('misbehaving', `${answer.url.host} answered for another manifest than ${digest}`);
  return digest;
}

function digestIn({ headers }: Answer): Digest | undefined {
  const digest = headerOf(headers, 'docker-content-digest');
  return isDigest(digest) ? digest : undefined;
}

/** @throws OciError MANIFEST_UNKNOWN for a format that is not supported. */
function typeInHeaders({ url, headers }: Answer): MediaType | undefined {
  const mediaType = manifestType(mediaTypeIn(headerOf(headers, 'content-type')));
  if (mediaType && isSchema1(mediaType)) throw unsupported(url);
  return mediaType;
}

function unsupported({ host }: URL): OciError {
  return new OciError(
    'MANIFEST_UNKNOWN',
    `${host} has this image as a schema 1 manifest, a format that is not supported: push it again with a current client`,
  );
}

/**
 * A manifest's media type is a vendor type with JSON; `text/html` and the like come from proxies (talos #5195). Some registries send
 * `text/plain` or none: then the manifest's own `mediaType` counts.
 */
function manifestType(mediaType: MediaType | undefined): MediaType | undefined {
  return mediaType && /^application\/vnd\..+\+(?:json|prettyjws)$/.test(mediaType) ? mediaType : undefined;
}

function noManifest({ url }: Answer): UpstreamError {
  return new UpstreamError('misbehaving', `${url.host} sent something that is no manifest`);
}
