import { randomUUID } from 'node:crypto';
import { boundedMap } from '../../../mirror/concurrency/remembered.ts';
import type { PartOfCatalog } from '../../../mirror/listings/listings.ts';
import type { Mirror } from '../../../mirror/mirror.ts';
import type { Clock } from '../../../mirror/ports/clock.ts';
import { repositoryKey } from '../../../mirror/ports/repository-id.ts';
import { OciError, UpstreamError } from '../../../oci/errors.ts';
import type { RegistryContext, Step } from '../../server/exchange.ts';
import { headingOf, Problem } from '../problems.ts';
import { pageAssets, pageHeaders } from './assets.ts';
import { html, name } from './html.ts';
import { inPath, parseNamed } from './names.ts';
import { documentOf, type Page } from './page.ts';
import type { PageRequest, PageSources } from './view.ts';
import { decodedPath, named } from './views/browse.ts';
import { start } from './views/start.ts';

export interface PublicPagesDeps extends Pick<PageSources, 'administration'> {
  readonly mirror: Pick<Mirror, 'catalog' | 'mayBeListed'>;
  readonly isTls: boolean;
  readonly clock: Pick<Clock, 'now'>;
}

/** Where pages went on that ended before they were full, by the id of the link. It may be a hidden name: no client gets it. */
type Continued = ReturnType<typeof boundedMap<string, string>>;

/** Requests that run at the same time: pages never take much from pulls. */
const maxRunning = 8;
const namesOfPage = 100;
/** A page of names ends after so much time, even if it is not full: most names may be hidden. */
const mostMs = 30;
/** With more, the links that were not followed for longest begin again after the last name of their page. */
const maxContinued = 1_000;

/**
 * Pages for the listener of clients, which only read: an image's own URL, `/docker.io/library/nginx:1.27`, opened in a browser. They show what
 * every client may read by the last verdict, and ask no upstream. Whatever else is asked for is left to others.
 */
export function publicPages(deps: PublicPagesDeps): Step {
  const assets = pageAssets();
  const continued: Continued = boundedMap(maxContinued);
  let running = 0;
  const answer = async (ctx: RegistryContext): Promise<void> => {
    running += 1;
    try {
      if (running > maxRunning) throw new Problem('unavailable', 'too many pages are asked for');
      write(ctx, await pageFor(ctx, deps, continued));
    } catch (error) {
      write(ctx, problemPage(error));
    } finally {
      running -= 1;
    }
  };
  return (ctx, next) => assets(ctx, () => (isForPeople(ctx) ? answer(ctx) : next()));
}

function isForPeople({ method, headers }: Pick<RegistryContext, 'method' | 'headers'>): boolean {
  return (method === 'GET' || method === 'HEAD') && /\btext\/html\b/.test(headers.accept ?? '');
}

async function pageFor(
  ctx: RegistryContext,
  { administration, mirror, isTls, clock }: PublicPagesDeps,
  continued: Continued,
): Promise<Page> {
  const asked: PageRequest = {
    path: ctx.path,
    query: new URLSearchParams(ctx.querystring),
    host: ctx.req.headers.host ?? '',
    session: undefined,
    nowMs: clock.now(),
    signal: ctx.state.exchange.signal,
    isPublic: true,
    base: '',
  };
  const sources = { administration, clients: () => ({ port: undefined, isTls }) };
  if (ctx.path === '/') return catalogPage(asked, mirror, continued);
  if (ctx.path === '/start') return start(asked, sources);
  const found = parseNamed(decodedPath(ctx.path.slice(1)));
  // What is hidden is told as what does not exist.
  if (found === undefined || !(await mirror.mayBeListed(repositoryKey(found.repositoryId)))) throw unknown();
  return named(asked, sources);
}

/** Every repository that the catalog lists, in pages. */
async function catalogPage(
  { query, signal }: PageRequest,
  mirror: Pick<Mirror, 'catalog'>,
  continued: Continued,
): Promise<Page> {
  const asked = query.get('last') ?? undefined;
  const last = continued.get(query.get('from') ?? '') ?? asked;
  const { names, lookedTo } = await mirror.catalog({ last, limit: namesOfPage + 1, mostMs }, { signal });
  const shown = names.slice(0, namesOfPage);
  const next = nextOf({ names, lookedTo, asked }, continued);
  const items = shown.map((one) => html`<li><a href="/${inPath(one)}">${name(one)}</a></li>`);
  const none = last === undefined ? 'Nothing is cached yet.' : 'There is nothing more.';
  const body = html`<div class="head"><h1>Images</h1><p class="sub">What this mirror keeps in its cache, and everybody may pull.</p></div>
${shown.length === 0 ? html`<p class="empty">${next ? 'Nothing was found so far. The next page looks further.' : none}</p>` : html`<ul class="card names">${items}</ul>`}
${next !== undefined && html`<nav class="pager" aria-label="Pages of the list"><span></span><a class="button" rel="next" href="/?${next.toString()}">Next page</a></nav>`}`;
  return { title: 'Images', place: 'browse', body };
}

/** The query of the next page; undefined if there is none. */
function nextOf(
  { names, lookedTo, asked }: PartOfCatalog & { readonly asked: string | undefined },
  continued: Continued,
): URLSearchParams | undefined {
  if (names.length > namesOfPage) return new URLSearchParams({ last: names[namesOfPage - 1] ?? '' });
  if (lookedTo === undefined) return undefined;
  const from = randomUUID();
  continued.set(from, lookedTo);
  const last = names.at(-1) ?? asked;
  return new URLSearchParams({ ...(last !== undefined && { last }), from });
}

function unknown(): Problem {
  return new Problem('not-found', 'This is not in the cache, or not for everybody. A pull may still find it.');
}

/** @throws what is a bug. */
function problemPage(error: unknown): Page {
  const problem =
    error instanceof OciError || error instanceof UpstreamError ? new Problem('unavailable', error.message) : error;
  if (!(problem instanceof Problem)) throw error;
  const { status, title } = headingOf(problem.kind);
  const body = html`<div class="card narrow"><h1>${title}</h1><p>${problem.message}</p><p><a href="/">Images</a></p></div>`;
  return { title, place: 'none', body, status };
}

function write(ctx: RegistryContext, page: Page): void {
  ctx.status = page.status ?? 200;
  ctx.set({ ...pageHeaders, 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store' });
  ctx.body = documentOf(page, { isPublic: true, formToken: undefined, notice: undefined }).text;
}
