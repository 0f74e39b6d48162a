import type { UpstreamRequestKind } from '../../mirror/ports/observer.ts';
import { ListingTooLong } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Repository } from '../../oci/reference.ts';
import { readAtMost } from '../transport/read-at-most.ts';
import type { RegistryAnswer, Requests } from './requests.ts';

const maxPages = 200;
/** A page is parsed in one turn of the event loop. */
const maxPageBytes = 4 * 1024 * 1024;

export interface PagedListing {
  readonly url: URL;
  readonly kind: UpstreamRequestKind;
  readonly repository: Repository;
  readonly accept?: string;
  /** The bound on all pages together. */
  readonly maxBytes: number;
}

/** One page as received. */
export interface ListingPage {
  readonly bytes: Uint8Array;
  readonly hasNext: boolean;
}

/** An unsuccessful answer. */
export interface PageRefusal {
  readonly answer: RegistryAnswer;
  readonly pagesRead: number;
}

/**
 * Reads a listing page by page, within bounds on pages and bytes.
 * @param take gets each page as it arrives; returns whether it had anything new, or `end` to stop.
 * @returns the first unsuccessful answer; undefined when all pages were read.
 * @throws ListingTooLong beyond the bounds; UpstreamError misbehaving when a page links to one that was read already, or has nothing new and
 * links to another.
 */
export async function readPages(
  requests: Requests,
  { url, kind, repository, accept = 'application/json', maxBytes }: PagedListing,
  options: Waiting,
  take: (page: ListingPage) => 'new' | 'nothing new' | 'end',
): Promise<PageRefusal | undefined> {
  const { host } = url;
  const withoutEnd = () => new UpstreamError('misbehaving', `${host} sends an endless chain of listing pages`);
  const read = new Set<string>();
  let bytesLeft = maxBytes;
  for (let next: URL | undefined = url; next !== undefined; ) {
    if (read.has(next.href)) throw withoutEnd();
    if (read.size === maxPages) throw new ListingTooLong(host);
    const answer: RegistryAnswer = await requests.ask(
      { method: 'GET', url: next, kind, repository, headers: { accept } },
      options,
    );
    if (answer.status !== 200) return { answer, pagesRead: read.size };
    read.add(next.href);
    const bytes = await readAtMost(answer, Math.min(bytesLeft, maxPageBytes), options).catch((cause: unknown) => {
      const isTotal = bytesLeft < maxPageBytes && cause instanceof UpstreamError && cause.reason === 'misbehaving';
      throw isTotal ? new ListingTooLong(host, { cause }) : cause;
    });
    bytesLeft -= bytes.length;
    next = nextPage(answer, url);
    const taken = take({ bytes, hasNext: next !== undefined });
    if (taken === 'end') return undefined;
    if (next && taken === 'nothing new') throw withoutEnd();
  }
  return undefined;
}

/**
 * Only the query of a Link is used, with the URL of the first page. Behind proxies and repository managers the scheme, the host or the path
 * of a Link are often wrong (Artifactory RTFACT-18971, sonatype/nexus-public #1011), and credentials must not go elsewhere. `n=0` is
 * replaced by the number that was asked for: GHCR sends it when no number was asked for, and other registries answer it with an empty page.
 */
function nextPage({ headers, url: { host } }: RegistryAnswer, asked: URL): URL | undefined {
  const link = nextLink(headers['link']);
  if (link === undefined) return undefined;
  const [, query = ''] = /\?([^#]*)/.exec(link) ?? [];
  const parameters = query.split('&');
  const meant = parameters.filter((parameter) => !/^n=0*$/.test(parameter));
  const number = asked.searchParams.get('n');
  if (meant.length < parameters.length && number !== null) meant.push(`n=${number}`);
  const next = new URL(asked);
  next.search = meant.join('&');
  if (next.search !== '') return next;
  throw new UpstreamError('misbehaving', `${host} sent a Link to the next page without a query`);
}

/**
 * The target of `rel="next"` (RFC 8288 §3; distribution-spec v1.1.1, "Listing Tags"). The target may contain commas and semicolons. Without
 * angle brackets, which clients tolerate (containers/image), the target ends at the first semicolon; a next page must not be overlooked.
 * @returns undefined when there is no next page.
 */
export function nextLink(header: string | readonly string[] | undefined): string | undefined {
  const joined = typeof header === 'string' ? header : (header ?? []).join(', ');
  const text = joined.includes('<') ? joined : joined.replace(/^\s*([^;\s]+)/, '<$1>');
  for (const [, target, params = ''] of text.matchAll(/<([^<>]*)>((?:[^<"]|"(?:[^"\\]|\\.)*")*)/g)) {
    if (relationsIn(params).includes('next')) return target;
  }
  return undefined;
}

function relationsIn(params: string): readonly string[] {
  for (const [, name, quoted, bare] of params.matchAll(/;\s*([^\s=;,"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,]*))/g)) {
    if (name?.toLowerCase() === 'rel') return (quoted ?? bare?.replaceAll("'", '') ?? '').toLowerCase().split(/\s+/);
  }
  return [];
}
