import type { UpstreamRequestKind } from '../mirror/ports/observer.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import { UpstreamError } from '../oci/errors.ts';
import type { Repository } from '../oci/reference.ts';
import { nextLink } from './link-header.ts';
import { readAtMost } from './read-at-most.ts';
import type { RegistryAnswer, Requests } from './requests.ts';

const maxPages = 200;
/** Parsed in one turn of the event loop. */
const maxPageBytes = 4 * 1024 * 1024;

export interface PagedListing {
  readonly url: URL;
  readonly kind: UpstreamRequestKind;
  readonly repository: Repository;
  readonly accept?: string;
  /** Of all pages. */
  readonly maxBytes: number;
}

/** One page, as it came. */
export interface ListingPage {
  readonly bytes: Uint8Array;
  readonly hasNext: boolean;
}

/** An answer that is no success. */
export interface PageRefusal {
  readonly answer: RegistryAnswer;
  readonly pagesRead: number;
}

/**
 * Reads a listing page by page, in bounds of pages and bytes. Ends early where a page leads back to one that was read, or brings nothing new
 * while more are to come.
 * @param take gets each page as it comes; returns whether it brought something new, or `end` where no more is wanted.
 * @returns the first answer that is no success.
 */
export async function readPages(
  requests: Requests,
  { url, kind, repository, accept = 'application/json', maxBytes }: PagedListing,
  options: Waiting,
  take: (page: ListingPage) => 'new' | 'nothing new' | 'end',
): Promise<PageRefusal | undefined> {
  const withoutEnd = () => new UpstreamError('misbehaving', `${url.host} lists without end`);
  const read = new Set<string>();
  let bytesLeft = maxBytes;
  for (let next: URL | undefined = url; next !== undefined; ) {
    if (read.size === maxPages || read.has(next.href)) throw withoutEnd();
    const answer: RegistryAnswer = await requests.ask(
      { method: 'GET', url: next, kind, repository, headers: { accept } },
      options,
    );
    if (answer.status !== 200) return { answer, pagesRead: read.size };
    read.add(next.href);
    const bytes = await readAtMost(answer, Math.min(bytesLeft, maxPageBytes), options);
    bytesLeft -= bytes.length;
    next = nextPage(answer, url);
    const taken = take({ bytes, hasNext: next !== undefined });
    if (taken === 'end') return undefined;
    if (next && taken === 'nothing new') throw withoutEnd();
  }
  return undefined;
}

/**
 * What a Link says of the next page is its query; the page is asked for where the first one was. Behind proxies and repository managers the
 * scheme, the host or the path of a Link are often wrong (Artifactory RTFACT-18971, sonatype/nexus-public #1011), and credentials follow it
 * nowhere. `n=0` stands for the number that was asked for: GHCR says so where nobody named one, and others take it for an empty page.
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
  throw new UpstreamError('misbehaving', `${host} continues a listing without saying where`);
}
