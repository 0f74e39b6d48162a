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
  /** Convinces another host, where a redirect led, of an anonymous caller, and keeps the tokens of that host. */
  readonly guestAt: (host: URL) => Authorizer;
  /** Which `http:` URLs may be followed from `https:`. */
  readonly mayBePlain: (url: URL) => boolean;
}

/** One for the challenge, one for a token that was refused. */
const maxRetries = 2;

/** Where something of the distribution API is: `v2/` comes below whatever path the registry's own URL has. */
export function apiUrl(registry: URL, path: string): URL {
  return new URL(`${registry.pathname.replace(/\/$/, '')}/v2/${path}`, registry);
}

/** Asks as one account: redirects are followed, challenges met. @returns the final answer, whatever its status. */
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

/** A registry that sends us elsewhere has accepted what it was shown. */
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
 * @returns a proof that may turn the registry's answer into another one, or undefined.
 * Some registries challenge only at `/v2/`: gcr.io may answer 401 without a challenge, and those that serve anonymous callers as well
 * may hide what is private behind 403 or 404.
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
 * A host where a redirect led may want a proof of its own (registry.k8s.io leads to Artifact Registry): it gets the token of an
 * anonymous caller, a new one where it refuses the one it gave before, and nothing that belongs to the registry.
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

/** A host that gives guests no token refuses what was asked for: that is its answer, and what it means is judged where all are. */
function noneIfDenied(cause: unknown): undefined {
  if (!(cause instanceof OciError) || cause.code !== 'DENIED') throw cause;
}

/** The repository as it is called where a redirect led: a challenge without a scope is about that one. */
function repositoryAt({ pathname }: URL): Repository | undefined {
  const [, name] = /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\//.exec(pathname) ?? [];
  return name !== undefined && isRepository(name) ? name : undefined;
}
