import type { UpstreamRequestKind, Waiting } from '../mirror/ports.ts';
import { algorithmOf, type Digest, hexOf } from '../oci/digest.ts';
import { OciError, UpstreamError } from '../oci/errors.ts';
import { type Descriptor, isDescriptor, maxManifestBytes } from '../oci/manifest.ts';
import { ociIndex } from '../oci/media-types.ts';
import { parseTag, type Repository } from '../oci/reference.ts';
import type { Answer } from './exchange.ts';
import { nextLink } from './link-header.ts';
import { getManifest } from './manifests.ts';
import { readAtMost } from './read-at-most.ts';
import type { RegistryAnswer, Requests } from './requests.ts';

/** ECR answers 405 to more than 1000. */
const tagsPerPage = 1000;
const maxPages = 200;
const maxTags = 200_000;
/** Parsed in one turn of the event loop. */
const maxPageBytes = 4 * 1024 * 1024;
const maxListingBytes = 16 * 1024 * 1024;

/**
 * All tags, page by page, each once: at most two hundred thousand.
 * @throws OciError NAME_UNKNOWN or DENIED; UpstreamError also where the list is too long, or has no end.
 */
export async function listTags(
  requests: Requests,
  repository: Repository,
  options: Waiting,
): Promise<readonly string[]> {
  const url = requests.urlOf(repository, `tags/list?n=${tagsPerPage}`);
  const tags = new Set<string>();
  const refusal = await readPages(
    requests,
    { url, kind: 'tags', repository, maxBytes: maxListingBytes },
    options,
    (page) => {
      const before = tags.size;
      for (const tag of arrayIn(page, 'tags', url)) if (typeof tag === 'string') tags.add(tag);
      if (tags.size > maxTags) throw new UpstreamError('misbehaving', `${url.host} lists more than ${maxTags} tags`);
      return tags.size > before;
    },
  );
  if (refusal) throw await requests.failureOf(refusal, 'NAME_UNKNOWN', { isListing: true });
  return [...tags];
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
  const referrers: Descriptor[] = [];
  // They are answered as one index, which no client takes if it is longer than a manifest may be.
  const listing = { url, kind: 'referrers', repository, accept: ociIndex, maxBytes: maxManifestBytes } as const;
  const refusal = await readPages(requests, listing, options, (page) => {
    const found = arrayIn(page, 'manifests', url);
    referrers.push(...found.filter(isDescriptor));
    return found.length > 0;
  });
  if (!refusal) return referrers;
  if (!withoutReferrersApi.has(refusal.status))
    throw await requests.failureOf(refusal, 'MANIFEST_UNKNOWN', { isListing: true });
  refusal.body.destroy();
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
  /** Of all pages. */
  readonly maxBytes: number;
}

/**
 * Follows `Link: …; rel="next"` within the registry itself, in bounds of pages and bytes. Ends early where a page leads back to one that was
 * read, or brings nothing new while more are to come.
 * @param take gets each page as it comes; returns whether it brought something new.
 * @returns the first answer if it is no success.
 */
async function readPages(
  requests: Requests,
  { url, kind, repository, accept = 'application/json', maxBytes }: Listing,
  options: Waiting,
  take: (document: unknown) => boolean,
): Promise<RegistryAnswer | undefined> {
  const withoutEnd = () => new UpstreamError('misbehaving', `${url.host} lists without end`);
  const read = new Set<string>();
  let bytesLeft = maxBytes;
  for (let next: URL | undefined = url; next !== undefined; ) {
    if (read.size === maxPages || read.has(next.href)) throw withoutEnd();
    read.add(next.href);
    const answer: RegistryAnswer = await requests.ask(
      { method: 'GET', url: next, kind, repository, headers: { accept } },
      options,
    );
    if (answer.status !== 200 && read.size === 1) return answer;
    if (answer.status !== 200) throw await requests.failureOf(answer, 'NAME_UNKNOWN', { isListing: true });
    const bytes = await readAtMost(answer, Math.min(bytesLeft, maxPageBytes), options);
    bytesLeft -= bytes.length;
    const isNew = take(parsed(bytes));
    next = nextPage(answer, url);
    if (next && !isNew) throw withoutEnd();
  }
  return undefined;
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
