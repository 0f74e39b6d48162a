import type { Waiting } from '../../mirror/ports/waiting.ts';
import { OciError } from '../../oci/errors.ts';
import { isRepository, type Repository } from '../../oci/reference.ts';
import type { Authorizer, Caller } from '../credentials/protocol/authorizer.ts';
import { anonymous } from '../credentials/credentials.ts';
import type { Answer, Exchange, Send } from '../transport/exchange.ts';
import { discard } from './read-at-most.ts';
import { sendFollowing } from '../transport/redirects.ts';

export interface AskingDeps {
  readonly registry: URL;
  readonly send: Send;
  readonly authorizer: Authorizer;
  /** Authorizes anonymously at another host after a redirect, and keeps the tokens of that host. */
  readonly guestAt: (host: URL) => Authorizer;
  /** Which `http:` URLs may be followed from `https:`. */
  readonly mayBePlain: (url: URL) => boolean;
}

/** One retry for the challenge, one for a refused token. */
const maxRetries = 2;

/** A URL of the distribution API: `v2/` below the path of the registry's URL. */
export function apiUrl(registry: URL, path: string): URL {
  return new URL(`${registry.pathname.replace(/\/$/, '')}/v2/${path}`, registry);
}

/** Sends a request with one account; follows redirects and answers challenges. @returns the final answer, with any status. */
export async function askAs(deps: AskingDeps, exchange: Exchange, caller: Caller): Promise<Answer> {
  const { send, authorizer, mayBePlain } = deps;
  const { signal } = caller;
  let authorization = await authorizer.header(caller);
  let answer = await sendFollowing(send, exchange, { signal, authorization, mayBePlain });
  judge(deps, caller, { answer, shown: authorization });
  for (let retry = 0; retry < maxRetries; retry++) {
    const next = await nextProof(deps, caller, { answer, refused: authorization });
    if (next === undefined) break;
    await discard(answer);
    authorization = next;
    answer = await sendFollowing(send, exchange, { signal, authorization, mayBePlain });
    judge(deps, caller, { answer, shown: authorization });
  }
  return orAsGuest(deps, caller, { exchange, answer });
}

/** A registry that redirects has accepted the credentials. */
function judge(
  { authorizer, registry }: AskingDeps,
  caller: Caller,
  { answer, shown }: { readonly answer: Answer; readonly shown: string | undefined },
): void {
  const isHome = answer.url.origin === registry.origin;
  if (!isHome || answer.status < 400) authorizer.judge('accepted', caller, shown);
  else if (answer.status === 401) authorizer.judge('refused', caller, shown);
}

/**
 * @returns an Authorization header that may change the registry's answer, or undefined.
 * Some registries challenge only at `/v2/`: gcr.io may answer 401 without a challenge, and registries that also serve anonymous requests
 * may hide private content behind 403 or 404.
 */
async function nextProof(
  deps: AskingDeps,
  caller: Caller,
  { answer, refused }: { readonly answer: Answer; readonly refused: string | undefined },
): Promise<string | undefined> {
  const { authorizer, registry } = deps;
  if (answer.url.origin !== registry.origin) return undefined;
  const isRefused = answer.status === 401;
  const mayBeHidden = (answer.status === 403 || answer.status === 404) && caller.credentials !== anonymous;
  const isUnexplained = !authorizer.isInformed && answer.headers['www-authenticate'] === undefined;
  if ((isRefused || mayBeHidden) && isUnexplained) {
    await ping(deps, caller);
    return authorizer.header(caller);
  }
  return isRefused ? authorizer.answerTo(answer.headers, caller, refused) : undefined;
}

async function ping({ send, authorizer, registry }: AskingDeps, { signal }: Waiting): Promise<void> {
  const answer = await send({ method: 'GET', url: apiUrl(registry, ''), kind: 'ping', headers: {} }, { signal });
  authorizer.inform(answer.headers);
  await discard(answer);
}

/**
 * A host after a redirect may want credentials of its own (registry.k8s.io redirects to Artifact Registry): it gets an anonymous token, a
 * new one if it refuses the previous one, and none of the registry's credentials.
 */
async function orAsGuest(
  { send, registry, guestAt, mayBePlain }: AskingDeps,
  { repository, signal }: Caller,
  { exchange, answer: first }: { readonly exchange: Exchange; readonly answer: Answer },
): Promise<Answer> {
  let answer = first;
  let authorization: string | undefined;
  for (let retry = 0; retry < maxRetries; retry++) {
    const { status, url, headers } = answer;
    if (status !== 401 || url.origin === registry.origin) return answer;
    const guest = { credentials: anonymous, repository: repositoryAt(url) ?? repository, signal };
    authorization = await guestAt(url).answerTo(headers, guest, authorization).catch(noneIfDenied);
    if (authorization === undefined) return answer;
    await discard(answer);
    answer = await sendFollowing(send, { ...exchange, url }, { signal, authorization, mayBePlain });
  }
  return answer;
}

/** A host that gives no anonymous token refuses the request: its answer is handled like any other. */
function noneIfDenied(cause: unknown): undefined {
  if (!(cause instanceof OciError) || cause.code !== 'DENIED') throw cause;
}

/** The repository's name at the host after a redirect: a challenge without a scope is about it. */
function repositoryAt({ pathname }: URL): Repository | undefined {
  const [, name] = /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\//.exec(pathname) ?? [];
  return name !== undefined && isRepository(name) ? name : undefined;
}
