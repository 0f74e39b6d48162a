import type { Waiting } from '../../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestOf, hexOf, isDigest } from '../../oci/digest.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { type Descriptor, isDescriptor, maxManifestBytes } from '../../oci/manifest.ts';
import { mediaTypeIn, ociIndex } from '../../oci/media-types.ts';
import { parseTag, type Repository } from '../../oci/reference.ts';
import { headerOf } from '../transport/answer.ts';
import { readPages } from './pages.ts';
import { discard, readAtMost } from '../transport/read-at-most.ts';
import { RefusedRedirect } from '../transport/network-errors.ts';
import type { RegistryAnswer, Requests } from './requests.ts';
import { isJsonObject, parseJson } from '../../oci/json.ts';

/** The statuses of registries that have no referrers API, or no tag of the tag schema. */
const without: ReadonlySet<number> = new Set([204, 400, 404, 405, 406, 410, 501]);

/**
 * All referrers of a manifest, by the tag schema if the registry has no referrers API. A registry that supports neither may answer with the
 * manifest itself (GitLab takes the tag for the digest), another manifest, a page of HTML, `{}`, an empty body, or a redirect to a login
 * page. All of these mean that there are no referrers; an error of the registry does not.
 * Source: distribution-spec v1.1.1, "Listing Referrers" and "Unavailable Referrers API".
 * @throws OciError DENIED; UpstreamError.
 */
export async function listReferrers(
  requests: Requests,
  repository: Repository,
  digest: Digest,
  options: Waiting,
): Promise<readonly Descriptor[]> {
  const byApi = await orUndefined(referrersByApi(requests, repository, digest, options));
  return byApi ?? (await orUndefined(referrersByTag(requests, repository, digest, options))) ?? [];
}

/** @returns undefined where the registry has no referrers API. */
async function referrersByApi(
  requests: Requests,
  repository: Repository,
  digest: Digest,
  options: Waiting,
): Promise<readonly Descriptor[] | undefined> {
  const url = requests.urlOf(repository, `referrers/${digest}`);
  const referrers: Descriptor[] = [];
  let [isFirst, isForeign] = [true, false];
  // Clients get all referrers as one index, and accept no index larger than a manifest may be.
  const listing = { url, kind: 'referrers', repository, accept: ociIndex, maxBytes: maxManifestBytes } as const;
  const refusal = await readPages(requests, listing, options, ({ bytes }) => {
    const found = indexIn(bytes, url);
    if (!found && !isFirst)
      throw new UpstreamError('misbehaving', `${url.host} sent a page of referrers that is no image index`);
    isFirst = false;
    isForeign = found === undefined;
    if (!found) return 'end';
    referrers.push(...found.filter(isDescriptor));
    return found.length > 0 ? 'new' : 'nothing new';
  });
  if (!refusal) return isForeign ? undefined : referrers;
  if (refusal.pagesRead > 0) throw await requests.failureOf(refusal.answer, 'NAME_UNKNOWN', { isListing: true });
  return noneIn(refusal.answer, { requests, asked: url });
}

/** @returns undefined when the tag does not exist, or holds no list of referrers. */
async function referrersByTag(
  requests: Requests,
  repository: Repository,
  digest: Digest,
  options: Waiting,
): Promise<readonly Descriptor[] | undefined> {
  const tag = parseTag(`${algorithmOf(digest)}-${hexOf(digest).slice(0, 64)}`);
  const url = requests.urlOf(repository, `manifests/${tag}`);
  const answer = await requests.ask(
    { method: 'GET', url, kind: 'manifest', repository, headers: { accept: ociIndex } },
    options,
  );
  if (answer.status !== 200) return noneIn(answer, { requests, asked: url });
  const bytes = await readAtMost(answer, maxManifestBytes, options);
  confirm(bytes, answer);
  if (digestOf(bytes, algorithmOf(digest)) === digest) return undefined;
  const found = indexIn(bytes, url)?.filter(isDescriptor);
  // An index that lists the subject itself is an image index, not a list of referrers.
  return found?.some((one) => one.digest === digest) ? undefined : found;
}

/** @throws the failure that the answer means, unless it means that there are no referrers. */
async function noneIn(
  answer: RegistryAnswer,
  { requests, asked }: { readonly requests: Requests; readonly asked: URL },
): Promise<undefined> {
  if (!without.has(answer.status) && !isLoginPage(answer, asked)) {
    throw await requests.failureOf(answer, 'MANIFEST_UNKNOWN', { isListing: true });
  }
  await discard(answer);
}

/** An HTML page at another origin, reached by a redirect, with any status but a server error. */
function isLoginPage({ status, headers, url }: RegistryAnswer, asked: URL): boolean {
  const isPage = mediaTypeIn(headerOf(headers, 'content-type')) === 'text/html';
  return isPage && url.origin !== asked.origin && status < 500 && status !== 429;
}

/** A redirect that is not followed leads to no manifest: it counts as "none". */
async function orUndefined<Value>(asked: Promise<Value>): Promise<Value | undefined> {
  try {
    return await asked;
  } catch (cause) {
    if (cause instanceof RefusedRedirect) return undefined;
    throw cause;
  }
}

/** @throws UpstreamError misbehaving when `Docker-Content-Digest` names other bytes. */
function confirm(bytes: Uint8Array, { headers, url }: RegistryAnswer): void {
  const promised = headerOf(headers, 'docker-content-digest');
  if (!isDigest(promised) || digestOf(bytes, algorithmOf(promised)) === promised) return;
  throw new UpstreamError('misbehaving', `${url.host} sent other bytes than ${promised}`);
}

/**
 * What an image index lists.
 * @returns undefined when the bytes are something else.
 * @throws UpstreamError misbehaving when they are a truncated JSON object, which may have been an index.
 */
function indexIn(bytes: Uint8Array, { host }: URL): readonly unknown[] | undefined {
  const text = Buffer.from(bytes).toString('utf8');
  const document = parseJson(text);
  if (document === undefined && text.trimStart().startsWith('{')) {
    throw new UpstreamError('misbehaving', `${host} sent a truncated list of referrers`);
  }
  if (!isJsonObject(document)) return undefined;
  const { mediaType = ociIndex, manifests } = document;
  if (mediaType !== ociIndex) return undefined;
  // Registries written in Go send null for an empty list.
  if (manifests === null) return [];
  return Array.isArray(manifests) ? manifests : undefined;
}
