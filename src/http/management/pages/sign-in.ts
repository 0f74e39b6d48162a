import type { IncomingHttpHeaders } from 'node:http';
import type { HttpContext } from '../../server/context.ts';
import { SecretCheck } from '../../siblings/secret-check.ts';
import { tokenUnreadable } from '../guard.ts';
import { Problem } from '../problems.ts';
import type { Page } from './page.ts';
import { type Session, type Sessions, sessionSeconds } from './sessions.ts';
import { loginPage, ownPath } from './views/login.ts';

export interface SignInDeps {
  readonly sessions: Sessions;
  /** Whether a token is configured. */
  readonly hasToken: boolean;
}

/** What a form leads to: another page, or the same with what is wrong. */
export type FormAnswer =
  | { readonly kind: 'redirect'; readonly to: string }
  | { readonly kind: 'page'; readonly page: Page };

/** The session of a request, if it has one that holds. */
export async function sessionOf(ctx: HttpContext, sessions: Sessions): Promise<Session | undefined> {
  const id = sessionIdIn(ctx);
  return id === undefined ? undefined : sessions.find(id);
}

/** @throws Problem */
export async function signIn(
  ctx: HttpContext,
  form: URLSearchParams,
  { sessions, hasToken }: SignInDeps,
): Promise<FormAnswer> {
  const next = ownPath(form.get('next') ?? '/');
  const id = await sessions.begin((form.get('token') ?? '').trim()).catch(tokenUnreadable);
  if (id === undefined) {
    const error = hasToken ? 'This is not the token.' : 'No token is configured.';
    return { kind: 'page', page: loginPage({ next, hasToken, error }) };
  }
  setCookie(ctx, id, sessionSeconds);
  return { kind: 'redirect', to: next };
}

/** Ends the session of the browser. */
export function signOut(ctx: HttpContext, { sessions }: SignInDeps): FormAnswer {
  const id = sessionIdIn(ctx);
  if (id !== undefined) sessions.end(id);
  setCookie(ctx, '', 0);
  return { kind: 'redirect', to: '/' };
}

/** @throws Problem for a form that is not of this session. */
export function requireFormOf(session: Session | undefined, form: URLSearchParams): void {
  const secret = session?.formToken ?? '';
  if (!new SecretCheck({ secret }).accepts(form.get('form') ?? '')) {
    throw new Problem('origin-refused', 'the form is not of this session; load the page again');
  }
}

/** A cookie holds for every port of a host, so its name has the port: two mirrors of one machine keep a session each. */
function cookieName({ req }: HttpContext): string {
  return `layerwell_${req.socket.localPort ?? 0}`;
}

function sessionIdIn(ctx: HttpContext): string | undefined {
  const wanted = cookieName(ctx);
  const pairs = (ctx.req.headers.cookie ?? '').split(';').map((pair) => pair.trim().split('='));
  return pairs.find(([name]) => name === wanted)?.[1];
}

function setCookie(ctx: HttpContext, value: string, seconds: number): void {
  const secure = isBehindTls(ctx.req.headers) ? '; Secure' : '';
  ctx.set('Set-Cookie', `${cookieName(ctx)}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`);
}

/** A proxy before the listener adds TLS; the browser then names the origin of the form with https. */
function isBehindTls({ origin }: IncomingHttpHeaders): boolean {
  return origin?.startsWith('https://') ?? false;
}
