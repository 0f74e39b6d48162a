import type { Waiting } from '../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestOf, hexOf, isDigest } from '../oci/digest.ts';
import { UpstreamError } from '../oci/errors.ts';
import { type Descriptor, isDescriptor, maxManifestBytes } from '../oci/manifest.ts';
import { mediaTypeIn, ociIndex } from '../oci/media-types.ts';
import { parseTag, type Repository } from '../oci/reference.ts';
import { headerOf } from './answer-headers.ts';
import { readPages } from './pages.ts';
import { discard, readAtMost } from './read-at-most.ts';
import { RefusedRedirect } from './refused-redirect.ts';
import type { RegistryAnswer, Requests } from './requests.ts';

/** Registries without the referrers API, or without the tag that stands for it, say so in these ways. */
const without: ReadonlySet<number> = new Set([400, 404, 405, 406, 410, 501]);

/**
 * All referrers of a manifest; by the tag schema where the registry has no referrers API. A registry that knows neither answers in many ways:
 * the manifest itself (GitLab takes the tag for the digest), another manifest, a page of HTML, `{}`, nothing, or a redirect to a page where
 * people log in. All of these mean that there are none; an error of the registry does not.
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
  // They are answered as one index, which no client takes if it is longer than a manifest may be.
  const listing = { url, kind: 'referrers', repository, accept: ociIndex, maxBytes: maxManifestBytes } as const;
  const refusal = await readPages(requests, listing, options, ({ bytes }) => {
    const found = indexIn(bytes, url);
    if (!found && !isFirst) throw new UpstreamError('misbehaving', `${url.host} sent a page without referrers`);
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

/** @returns undefined where nothing is under the tag that could be a list of referrers. */
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
  // What refers to a manifest cannot be part of an index that has it as a part.
  return found?.some((one) => one.digest === digest) ? undefined : found;
}

/** @throws whatever an answer means that does not say that there is nothing. */
async function noneIn(
  answer: RegistryAnswer,
  { requests, asked }: { readonly requests: Requests; readonly asked: URL },
): Promise<undefined> {
  if (!without.has(answer.status) && !isLoginPage(answer, asked)) {
    throw await requests.failureOf(answer, 'MANIFEST_UNKNOWN', { isListing: true });
  }
  await discard(answer);
}

/** A page for people at another host, where a redirect led, with any status but an error of its server. */
function isLoginPage({ status, headers, url }: RegistryAnswer, asked: URL): boolean {
  const isPage = mediaTypeIn(headerOf(headers, 'content-type')) === 'text/html';
  return isPage && url.origin !== asked.origin && status < 500 && status !== 429;
}

/** A redirect to where nobody is asked leads to no manifest. */
async function orUndefined<Value>(asked: Promise<Value>): Promise<Value | undefined> {
  try {
    return await asked;
  } catch (cause) {
    if (cause instanceof RefusedRedirect) return undefined;
    throw cause;
  }
}

/** @throws UpstreamError misbehaving where the registry vouches for other bytes. */
function confirm(bytes: Uint8Array, { headers, url }: RegistryAnswer): void {
  const promised = headerOf(headers, 'docker-content-digest');
  if (!isDigest(promised) || digestOf(bytes, algorithmOf(promised)) === promised) return;
  throw new UpstreamError('misbehaving', `${url.host} sent other bytes than ${promised}`);
}

/**
 * What an image index lists.
 * @returns undefined when the bytes are something else.
 * @throws UpstreamError misbehaving when they are a JSON object that is cut: it may have been an index.
 */
function indexIn(bytes: Uint8Array, { host }: URL): readonly unknown[] | undefined {
  const text = Buffer.from(bytes).toString('utf8');
  const document = parsed(text);
  if (document === undefined && text.trimStart().startsWith('{')) {
    throw new UpstreamError('misbehaving', `${host} sent a list of referrers that is cut`);
  }
  if (typeof document !== 'object' || document === null || !('manifests' in document)) return undefined;
  if ('mediaType' in document && document.mediaType !== ociIndex) return undefined;
  const { manifests } = document;
  // Registries written in Go say null for none.
  if (manifests === null) return [];
  return Array.isArray(manifests) ? manifests : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
