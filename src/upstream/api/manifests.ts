import type { DownloadResult } from '../../mirror/ports/observer.ts';
import type { FetchedManifest, ManifestHead, Upstream } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestOf, isDigest } from '../../oci/digest.ts';
import { DigestMismatch, OciError, UpstreamError } from '../../oci/errors.ts';
import { type ManifestShape, manifestShapeOf, maxManifestBytes } from '../../oci/manifest.ts';
import { acceptedManifests, isSchema1, type MediaType, mediaTypeIn } from '../../oci/media-types.ts';
import type { Reference, Repository } from '../../oci/reference.ts';
import { contentLengthOf, headerOf, type Answer } from '../transport/answer.ts';
import { readAtMost } from '../transport/read-at-most.ts';
import { askByHead } from './head-record.ts';
import type { Requests } from './requests.ts';

/** @throws OciError MANIFEST_UNKNOWN, NAME_UNKNOWN or DENIED; UpstreamError. */
export async function headManifest(
  requests: Requests,
  repository: Repository,
  reference: Reference,
  options: Waiting,
): Promise<ManifestHead> {
  if (requests.hasNoHead('manifest')) return headByGet(requests, repository, reference, options);
  const request = manifestRequest(requests, repository, reference);
  const said = await askByHead(request, () => requests.ask({ ...request, method: 'HEAD' }, options));
  if (said.refusal !== undefined) {
    const head = await headByGet(requests, repository, reference, options);
    requests.recordHead('manifest', said.refusal);
    return head;
  }
  if (said.answer.status !== 200) throw await requests.failureOf(said.answer, 'MANIFEST_UNKNOWN');
  requests.recordHead('manifest', 'answered');
  return headIn(said.answer, reference);
}

function headIn(answer: Answer, reference: Reference): ManifestHead {
  const mediaType = typeInHeaders(answer);
  return {
    digest: isDigest(reference) ? confirmed(reference, answer) : digestIn(answer),
    mediaType,
    // No manifest is empty: some proxies send the length of the HEAD's own body (yusing/godoxy #169).
    size: contentLengthOf(answer.headers) || undefined,
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
  const request = manifestRequest(requests, repository, reference);
  const answer = await requests.ask({ ...request, method: 'GET' }, options);
  if (answer.status !== 200) throw await requests.failureOf(answer, 'MANIFEST_UNKNOWN');
  const bytes = await readAtMost(answer, maxManifestBytes, options);
  const digest = verifiedDigest(bytes, reference, answer);
  const headerType = typeInHeaders(answer);
  if (isDigest(reference) && headerType) return { digest, mediaType: headerType, bytes };
  const shape = manifestShapeOf(bytes);
  const mediaType = headerType ?? manifestType(shape?.mediaType);
  if ((mediaType && isSchema1(mediaType)) || (!mediaType && shape?.isSchema1)) throw unsupported(answer.url);
  const isManifest = isDigest(reference) || isManifestShape(shape, answer);
  if (!isManifest || !mediaType) throw noManifest(answer);
  return { digest, mediaType, bytes };
}

/** Requests for manifests that also tell how each download of one ended, after retries and mirrors. An answer, such as 404, is none. */
export function tellingEnds(
  upstream: Pick<Upstream, 'getManifest' | 'headManifest'>,
  onEnd: (result: DownloadResult) => void,
): Pick<Upstream, 'getManifest' | 'headManifest'> {
  return {
    getManifest: async (repository, reference, options) => {
      try {
        const fetched = await upstream.getManifest(repository, reference, options);
        onEnd('ok');
        return fetched;
      } catch (cause) {
        if (!(cause instanceof OciError)) onEnd(resultOf(cause, options));
        throw cause;
      }
    },
    headManifest: async (...request) => {
      const head = await upstream.headManifest(...request);
      if (head.fetched) onEnd('ok');
      return head;
    },
  };
}

function resultOf(cause: unknown, { signal }: Waiting): DownloadResult {
  if (signal.aborted || (cause instanceof UpstreamError && cause.reason === 'busy')) return 'aborted';
  return cause instanceof DigestMismatch ? 'digest_mismatch' : 'upstream_error';
}

/** If the registry names the digest, the bytes are accepted unparsed: a future media type may have other fields. */
function isManifestShape(shape: ManifestShape | undefined, answer: Answer): boolean {
  return shape !== undefined && (shape.hasManifestFields || digestIn(answer) !== undefined);
}

/** A request for a manifest, for HEAD or GET. */
export function manifestRequest(requests: Requests, repository: Repository, reference: Reference) {
  const headers = { accept: acceptedManifests.join(', ') };
  return { url: requests.urlOf(repository, `manifests/${reference}`), kind: 'manifest', repository, headers } as const;
}

async function headByGet(...request: Parameters<typeof getManifest>): Promise<ManifestHead> {
  const fetched = await getManifest(...request);
  return { digest: fetched.digest, mediaType: fetched.mediaType, size: fetched.bytes.length, fetched };
}

/** By digest the bytes must match it; by tag they must match the digest in the headers, if the mirror can verify it. */
function verifiedDigest(bytes: Uint8Array, reference: Reference, answer: Answer): Digest {
  const promised = isDigest(reference) ? reference : digestIn(answer);
  const digest = digestOf(bytes, promised && algorithmOf(promised));
  if (promised === undefined || digest === promised) return digest;
  throw new DigestMismatch(promised, digest, answer.url.host);
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
