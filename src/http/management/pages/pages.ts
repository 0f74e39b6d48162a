import type { ServerResponse } from 'node:http';
import type { Handler, HttpContext } from '../../server/context.ts';
import type { Clock } from '../../../mirror/ports/clock.ts';
import { type GuardDeps, hostCheck, requireVisitor } from '../guard.ts';
import { headingOf, hasBody, Problem } from '../problems.ts';
import { maxArriving, maxRunning, readForm, RequestLimit } from '../request-body.ts';
import { act, confirmPage } from './actions.ts';
import { pageAssets, pageHeaders } from './assets.ts';
import { html } from './html.ts';
import { Live, type LiveDeps } from './live.ts';
import { documentOf, type Page } from './page.ts';
import { type FormAnswer, requireFormOf, sessionOf, signIn, signOut } from './sign-in.ts';
import { type Session, Sessions } from './sessions.ts';
import type { PageSources, View } from './view.ts';
import { browse, named } from './views/browse.ts';
import { loginPage, ownPath } from './views/login.ts';
import { overview, overviewRegions } from './views/overview.ts';
import { start } from './views/start.ts';

export interface PagesDeps extends GuardDeps, PageSources {
  readonly clock: Pick<Clock, 'now' | 'monotonicMs'>;
  readonly report: (bug: unknown) => void;
  /** For tests. */
  readonly live?: Pick<LiveDeps, 'every' | 'most'>;
}

const views: ReadonlyMap<string, View> = new Map([
  ['/', overview],
  ['/browse', browse],
  ['/start', start],
]);

function viewOf(path: string): View | undefined {
  const word = wordAfter('/confirm/', path);
  if (word !== undefined) return (asked, sources) => confirmPage(word, asked, sources);
  return views.get(path) ?? (path.startsWith('/browse/') ? named : undefined);
}

function wordAfter(beginning: string, path: string): string | undefined {
  return path.startsWith(beginning) ? path.slice(beginning.length) : undefined;
}

/** The pages of the management listener. */
export class ManagementPages {
  readonly #deps: PagesDeps;
  readonly #sessions: Sessions;
  readonly #live: Live;
  readonly #requireKnownHost: ReturnType<typeof hostCheck>;
  /** Forms that arrive, and requests that run, without live streams. */
  readonly #arriving = new RequestLimit(maxArriving);
  readonly #running = new RequestLimit(maxRunning);

  constructor(deps: PagesDeps) {
    this.#deps = deps;
    this.#sessions = new Sessions(deps);
    this.#live = new Live({ ...deps.live, regions: () => overviewRegions(deps, deps.clock.now()) });
    this.#requireKnownHost = hostCheck(deps);
  }

  /** Answers the paths of pages, and lets all others pass. */
  middleware(): Handler {
    const assets = pageAssets();
    return (ctx, next) => (isPagePath(ctx.path) ? assets(ctx, () => this.#answerSafely(ctx)) : next());
  }

  /** Ends every live stream. */
  end(): void {
    this.#live.end();
  }

  /** A problem is a page as well. */
  async #answerSafely(ctx: HttpContext): Promise<void> {
    let session: Session | undefined;
    try {
      this.#requireKnownHost(ctx.req.headers.host);
      session = await sessionOf(ctx, this.#sessions);
      await this.#answer(ctx, session);
    } catch (error) {
      if (!(error instanceof Problem) && !ctx.res.destroyed) this.#deps.report(error);
      if (ctx.headerSent) ctx.res.destroy();
      else this.#answerProblem(ctx, session, error);
    }
  }

  async #answer(ctx: HttpContext, session: Session | undefined): Promise<void> {
    const { host, readToken } = this.#deps;
    const isPost = ctx.method === 'POST';
    if (!isPost && ctx.method !== 'GET' && ctx.method !== 'HEAD') throw wrongMethod('GET, HEAD, POST');
    const hasToken = readToken !== undefined;
    const signing = { sessions: this.#sessions, hasToken };
    if (ctx.path === '/login') {
      // Who signs in has no session yet; the token itself is in the form.
      requireVisitor(ctx.req, { host, isKnown: true });
      if (isPost) return this.#write(ctx, session, await signIn(ctx, await this.#form(ctx), signing));
      const page = loginPage({ next: ownPath(String(ctx.query['next'] ?? '/')), hasToken });
      return this.#write(ctx, session, { kind: 'page', page });
    }
    requireVisitor(ctx.req, { host, isKnown: session !== undefined });
    if (isPost) return this.#write(ctx, session, await this.#act(ctx, session, signing));
    if (ctx.path === '/pages/live') return this.#live.listen(ctx);
    return this.#write(ctx, session, { kind: 'page', page: await this.#running.run(() => this.#view(ctx, session)) });
  }

  /** @throws Problem */
  async #view(ctx: HttpContext, session: Session | undefined): Promise<Page> {
    const view = viewOf(ctx.path);
    if (view === undefined) throw new Problem('unknown-path', 'there is no such page');
    // Its form is of a session.
    if (session === undefined && wordAfter('/confirm/', ctx.path) !== undefined) throw new Problem('token-missing', '');
    const asked = {
      path: ctx.path,
      query: new URLSearchParams(ctx.querystring),
      host: ctx.req.headers.host ?? '',
      session,
      nowMs: this.#deps.clock.now(),
      signal: leavingOf(ctx.res),
      isPublic: false,
      base: '/browse',
    } as const;
    return view(asked, this.#deps);
  }

  /** A form that does not arrive keeps no other request waiting. */
  #form(ctx: HttpContext): Promise<URLSearchParams> {
    return this.#arriving.run(() => readForm(ctx.req));
  }

  async #act(
    ctx: HttpContext,
    session: Session | undefined,
    signing: Parameters<typeof signOut>[1],
  ): Promise<FormAnswer> {
    const form = await this.#form(ctx);
    requireFormOf(session, form);
    if (ctx.path === '/logout') return signOut(ctx, signing);
    const word = wordAfter('/actions/', ctx.path);
    if (word !== undefined && session !== undefined) {
      const signal = leavingOf(ctx.res);
      const { administration } = this.#deps;
      const to = await this.#running.run(() => act({ word, form, session, signal }, administration));
      return { kind: 'redirect', to };
    }
    throw viewOf(ctx.path) ? wrongMethod('GET, HEAD') : new Problem('unknown-path', 'there is no such page');
  }

  #write(ctx: HttpContext, session: Session | undefined, answer: FormAnswer): void {
    if (answer.kind === 'redirect') {
      ctx.set('Location', answer.to);
      ctx.status = 303;
      return;
    }
    const { page } = answer;
    const notice = session?.notice;
    if (session !== undefined) session.notice = undefined;
    ctx.status = page.status ?? 200;
    ctx.set(pageHeaders);
    ctx.body = documentOf(page, { isPublic: false, formToken: session?.formToken, notice }).text;
  }

  #answerProblem(ctx: HttpContext, session: Session | undefined, error: unknown): void {
    const { kind, message, options } =
      error instanceof Problem ? error : new Problem('internal-error', 'the log has the reason');
    if (hasBody(ctx.req.headers)) ctx.set('Connection', 'close');
    if (kind === 'token-missing' && ctx.path !== '/pages/live') {
      const next = ctx.method === 'GET' ? ctx.url : '/';
      return this.#write(ctx, session, { kind: 'redirect', to: `/login?next=${encodeURIComponent(next)}` });
    }
    ctx.set({ ...options.headers });
    this.#write(ctx, session, { kind: 'page', page: problemPage(kind, message) });
  }
}

function isPagePath(path: string): boolean {
  return path === '/' || /^\/(?:pages|browse|start|login|logout|confirm|actions)(?:\/|$)/.test(path);
}

function wrongMethod(allow: string): Problem {
  return new Problem('method-not-allowed', `the path has ${allow}`, { headers: { Allow: allow } });
}

function problemPage(kind: Problem['kind'], detail: string): Page {
  const { status, title } = headingOf(kind);
  const body = html`<div class="card narrow"><h1>${title}</h1><p>${detail}</p><p><a href="/">Overview</a></p></div>`;
  return { title, place: 'none', body, status };
}

/** Aborts when the visitor leaves before the answer has ended. */
function leavingOf(response: ServerResponse): AbortSignal {
  const leaving = new AbortController();
  response.once('close', () => leaving.abort(new Error('the visitor has left')));
  return leaving.signal;
}
