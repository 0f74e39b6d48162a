import type { Waiting } from '../../mirror/ports/waiting.ts';
import { type Answer, headerOf } from './answer.ts';
import type { Exchange, Send } from './exchange.ts';
import { hostAndPort } from './hosts.ts';
import { discard } from './read-at-most.ts';
import { ForbiddenAddress, RefusedRedirect } from './network-errors.ts';

const maxHops = 5;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Headers that are sent after a redirect. Authorization is not among them (go-containerregistry #2349, #2360). */
const carried = ['accept', 'range'];

export interface Following extends Waiting {
  readonly authorization?: string | undefined;
  /** Whether a redirect from https may lead to this `http:` URL: the configuration lists it as `http://host:port`. */
  readonly mayBePlain: (url: URL) => boolean;
}

/**
 * Follows the redirect that a GET or HEAD was answered with, and at most five in all.
 * `authorization` is sent only to the exact origin of the first URL, also if a later redirect returns to it, but not after a hop over plain
 * HTTP, where the redirect could have been forged.
 * @returns the first answer that is no redirect; `first` itself if it is none.
 * @throws RefusedRedirect for a redirect without a valid target, in circles, out of http(s), from https to http unless allowed, or to an
 *     address that is not allowed.
 */
export async function followRedirects(
  send: Send,
  { exchange, answer: first }: { readonly exchange: Exchange; readonly answer: Answer },
  { signal, authorization, mayBePlain }: Following,
): Promise<Answer> {
  const headers = Object.fromEntries(Object.entries(exchange.headers).filter(([name]) => carried.includes(name)));
  const isSecure = exchange.url.protocol === 'https:';
  let answer = first;
  let wasPlain = false;
  for (let hop = 1; redirects.has(answer.status); hop++) {
    await discard(answer);
    const url = nextHop(answer);
    if (isSecure && url.protocol !== 'https:') {
      if (!mayBePlain(url)) throw downgrade(answer, url);
      wasPlain = true;
    }
    if (hop > maxHops) throw new RefusedRedirect(`${exchange.url.host} redirects more than ${maxHops} times`);
    const isAtHome = url.origin === exchange.url.origin && !wasPlain;
    const proof = isAtHome && authorization !== undefined ? { authorization } : {};
    answer = await send({ ...exchange, url, headers: { ...headers, ...proof } }, { signal }).catch(refusedThere);
  }
  return answer;
}

function refusedThere(cause: unknown): never {
  throw cause instanceof ForbiddenAddress ? new RefusedRedirect(cause.message, { cause }) : cause;
}

/** The target of a redirect. A Location may be relative (Artifact Registry). Pure. */
function nextHop({ url, headers }: Answer): URL {
  const location = headerOf(headers, 'location');
  const next = location === undefined ? null : URL.parse(location, url);
  // RFC 1035 §2.3.4: a longer name is no host, and would fill errors and logs.
  if (next === null || next.hostname.length > 253) {
    throw new RefusedRedirect(`${url.host} redirects without a valid Location`);
  }
  const isWeb = next.protocol === 'https:' || next.protocol === 'http:';
  if (!isWeb) throw new RefusedRedirect(`${url.host} redirects to ${next.protocol.slice(0, 20)} from ${url.protocol}`);
  if (next.username !== '' || next.password !== '') {
    throw new RefusedRedirect(`${url.host} redirects to a URL with credentials in it`);
  }
  return next;
}

function downgrade({ url }: Answer, next: URL): RefusedRedirect {
  return new RefusedRedirect(
    `${url.host} redirects from https: to ${next.origin}, which is not in redirectHosts as "http://${hostAndPort(next)}"`,
  );
}
