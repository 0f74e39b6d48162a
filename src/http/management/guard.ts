import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { withoutBrackets } from '../../oci/reference.ts';
import type { Handler, HttpContext } from '../server/context.ts';
import { SecretCheck } from '../siblings/secret-check.ts';
import { Problem } from './problems.ts';

export interface GuardDeps {
  /** The address that the management listener is configured with. */
  readonly host: string;
  /** Further names by which it may be asked. */
  readonly hosts: readonly string[];
  /** Reads the token; it may change. Undefined if none is configured. @throws Error, which is logged there, when there is no usable one. */
  readonly readToken: (() => Promise<string>) | undefined;
}

/**
 * Refuses requests to the management API that its operator did not send: under a foreign host name (DNS rebinding), from another site, or
 * without the token. Only reading needs no token, and only while the listener is on a loopback address.
 */
export function guard(deps: GuardDeps): Handler {
  const requireKnownHost = hostCheck(deps);
  return async (ctx, next) => {
    const { host, origin, 'sec-fetch-site': site } = ctx.req.headers;
    requireKnownHost(host);
    if (!isOwnSite({ host, origin, site })) {
      throw new Problem('origin-refused', 'a page of another site may not use the API');
    }
    await requireToken(ctx, deps);
    return next();
  };
}

/** A check of the `Host`. The check throws Problem `host-refused`. */
export function hostCheck(deps: Pick<GuardDeps, 'host' | 'hosts'>): (host: string | undefined) => void {
  const names = new Set([deps.host, ...deps.hosts].map((name) => name.toLowerCase()));
  return (host) => {
    if (isKnownHost(host, names)) return;
    throw new Problem('host-refused', 'the mirror does not know this Host; management.hosts can list it');
  };
}

/**
 * Who asks for a page: a link of another site may lead to one, and nothing else of another site may use them. A change needs a session and its
 * form token; reading needs a session where the API needs the token.
 * @param isKnown whether there is a session that holds. @throws Problem
 */
export function requireVisitor(
  { method, headers }: Pick<IncomingMessage, 'method' | 'headers'>,
  { host, isKnown }: { readonly host: string; readonly isKnown: boolean },
): void {
  const { host: asked, origin, 'sec-fetch-site': site, 'sec-fetch-mode': mode } = headers;
  const isLink = method === 'GET' && mode === 'navigate' && origin === undefined;
  if (!isLink && !isOwnSite({ host: asked, origin, site })) {
    throw new Problem('origin-refused', 'a page of another site may not use these pages');
  }
  const needed = whyTokenIsNeeded({ method: method ?? '', host });
  if (!isKnown && needed !== undefined) throw new Problem('token-missing', `${needed} needs the token`);
}

/** `localhost`, an IP address, or a known name; the port does not matter. Pure. */
function isKnownHost(host: string | undefined, names: ReadonlySet<string>): boolean {
  const url = host === undefined || /[/?#@\\\s]/.test(host) ? null : URL.parse(`http://${host}`);
  if (url === null || host === '') return false;
  const name = withoutBrackets(url.hostname);
  return name === 'localhost' || isIP(name) > 0 || names.has(name) || names.has(url.host);
}

interface Site {
  readonly host: string | undefined;
  readonly origin: string | undefined;
  readonly site: string | readonly string[] | undefined;
}

/** Whether a request is not from a page, or from one of this listener; a proxy before it may add TLS. Pure. */
function isOwnSite({ host, origin, site }: Site): boolean {
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return false;
  return origin === undefined || origin === `http://${host}` || origin === `https://${host}`;
}

async function requireToken(ctx: HttpContext, { host, readToken }: GuardDeps): Promise<void> {
  const given = ctx.req.headers.authorization;
  const needed = whyTokenIsNeeded({ method: ctx.method, host });
  if (given === undefined && needed === undefined) return;
  if (readToken === undefined) {
    if (needed === undefined) return; // Nothing tells a wrong token from a right one, and none is needed.
    throw new Problem('token-not-configured', `${needed} needs a token; management.tokenFile names its file`);
  }
  const challenge = { headers: { 'WWW-Authenticate': 'Bearer realm="layerwell"' } };
  if (given === undefined) throw new Problem('token-missing', `${needed} needs a token`, challenge);
  const secret = await readToken().catch(tokenUnreadable);
  const [, token = ''] = /^Bearer +(\S+)$/i.exec(given) ?? [];
  if (!new SecretCheck({ secret }).accepts(token)) {
    throw new Problem('token-refused', 'this is not the token in the file of management.tokenFile', challenge);
  }
}

/** @throws Problem always. */
export function tokenUnreadable(cause: unknown): never {
  throw new Problem('token-unreadable', 'the file of management.tokenFile cannot be used; the log says why', { cause });
}

/** Undefined if none is needed. Pure. */
function whyTokenIsNeeded({ method, host }: { readonly method: string; readonly host: string }) {
  if (!isLoopback(host)) return 'a listener that is not on a loopback address';
  return method === 'GET' || method === 'HEAD' ? undefined : 'changing something';
}

/** Pure. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
