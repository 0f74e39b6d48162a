import type { UpstreamRequestKind, Waiting } from '../mirror/ports.ts';
import { algorithmOf, type Digest, hexOf } from '../oci/digest.ts';
import { OciError, UpstreamError } from '../oci/errors.ts';
import { type Descriptor, isDescriptor } from '../oci/manifest.ts';
import { ociIndex } from '../oci/media-types.ts';
import { parseTag, type Repository } from '../oci/reference.ts';
import type { Answer } from './exchange.ts';
import { nextLink } from './link-header.ts';
import { getManifest } from './manifests.ts';
import { readAtMost } from './read-at-most.ts';
import type { RegistryAnswer, Requests } from './requests.ts';

/** ECR answers 405 to more than 1000. */
const tagsPerPage = 1000;
const maxPages = 1_000;
const maxListingBytes = 16 * 1024 * 1024;

/** All tags, page by page. @throws OciError NAME_UNKNOWN or DENIED; UpstreamError. */
export async function listTags(
  requests: Requests,
  repository: Repository,
  options: Waiting,
): Promise<readonly string[]> {
  const url = requests.urlOf(repository, `tags/list?n=${tagsPerPage}`);
  const pages = await pagesFrom(requests, { url, kind: 'tags', repository }, options);
  if ('refusal' in pages) throw await requests.failureOf(pages.refusal, 'NAME_UNKNOWN');
  return pages.documents.flatMap((page) => arrayIn(page, 'tags', url)).filter((tag) => typeof tag === 'string');
}

/** Registries without the referrers API say so in these ways. */
const withoutReferrersApi: ReadonlySet<number> = new Set([400, 404, 405, 406, 501]);

/**
 * All referrers of a manifest; by the tag schema where the registry has no referrers API.
 * Source: distribution-spec v1.1.1, "Listing Referrers" and "Unavailable Referrers API".
 * @throws OciError DENIED; UpstreamError.
 */
export async function listReferrers(
  requests: Requests,
  repository: Repository,
  digest: Digest,
  options: Waiting,
): Promise<readonly Descriptor[]> {
  const url = requests.urlOf(repository, `referrers/${digest}`);
  const pages = await pagesFrom(requests, { url, kind: 'referrers', repository, accept: ociIndex }, options);
  if (!('refusal' in pages))
    return pages.documents.flatMap((page) => arrayIn(page, 'manifests', url)).filter(isDescriptor);
  if (!withoutReferrersApi.has(pages.refusal.status)) throw await requests.failureOf(pages.refusal, 'MANIFEST_UNKNOWN');
  pages.refusal.body.destroy();
  return referrersByTag(requests, repository, digest, options);
}

async function referrersByTag(requests: Requests, repository: Repository, digest: Digest, options: Waiting) {
  const tag = parseTag(`${algorithmOf(digest)}-${hexOf(digest).slice(0, 64)}`);
  try {
    const { bytes } = await getManifest(requests, repository, tag, options);
    return arrayIn(parsed(bytes), 'manifests', requests.urlOf(repository, '')).filter(isDescriptor);
  } catch (cause) {
    if (cause instanceof OciError && cause.status === 404) return [];
    throw cause;
  }
}

interface Listing {
  readonly url: URL;
  readonly kind: UpstreamRequestKind;
  readonly repository: Repository;
  readonly accept?: string;
}

/**
 * Follows `Link: …; rel="next"` within the registry itself, up to a thousand pages and 16 MiB in all.
 * @returns the documents, or the first answer if it is no success.
 */
async function pagesFrom(
  requests: Requests,
  { url, kind, repository, accept = 'application/json' }: Listing,
  options: Waiting,
): Promise<{ readonly documents: readonly unknown[] } | { readonly refusal: RegistryAnswer }> {
  const documents: unknown[] = [];
  let bytesLeft = maxListingBytes;
  let next: URL | undefined = url;
  while (next !== undefined) {
    const answer: RegistryAnswer = await requests.ask(
      { method: 'GET', url: next, kind, repository, headers: { accept } },
      options,
    );
    if (answer.status !== 200 && documents.length === 0) return { refusal: answer };
    if (answer.status !== 200) throw await requests.failureOf(answer, 'NAME_UNKNOWN');
    const bytes = await readAtMost(answer, bytesLeft, options);
    bytesLeft -= bytes.length;
    documents.push(parsed(bytes));
    next = nextPage(answer, url);
    if (documents.length === maxPages && next) throw new UpstreamError('misbehaving', `${url.host} lists without end`);
  }
  return { documents };
}

/** Where the next page is: only at the registry itself, as its credentials go along. */
function nextPage({ headers, url: current }: Answer, { origin }: URL): URL | undefined {
  const link = nextLink(headers['link']);
  if (link === undefined) return undefined;
  const next = URL.parse(link, current);
  if (next?.origin === origin) return next;
  throw new UpstreamError('misbehaving', `${current.host} continues a listing at another place`);
}

function arrayIn(document: unknown, key: 'tags' | 'manifests', { host }: URL): readonly unknown[] {
  const value =
    typeof document === 'object' && document !== null
      ? Object.entries(document).find(([name]) => name === key)?.[1]
      : undefined;
  if (Array.isArray(value)) return value;
  // Registries written in Go say null for none.
  if (value === null) return [];
  throw new UpstreamError('misbehaving', `${host} sent a listing without ${key}`);
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}
