import type { Clock, UpstreamRequestKind, Waiting } from '../mirror/ports.ts';
import { UpstreamError } from '../oci/errors.ts';
import { isRepository, parseRepository, type Repository } from '../oci/reference.ts';
import { failureOf, type Refusal } from './answer-errors.ts';
import { headerOf } from './answer-headers.ts';
import type { Authorizer, Caller } from './credentials/authorizer.ts';
import { anonymous } from './credentials/credentials.ts';
import type { Accounts } from './credentials/accounts.ts';
import type { Answer, Exchange, Send } from './exchange.ts';
import { discard } from './read-at-most.ts';
import { sendFollowing } from './redirects.ts';

/** A question to one registry. */
export interface RegistryRequest {
  readonly method: 'GET' | 'HEAD';
  /** Made by `urlOf`, or a page of the registry's own. */
  readonly url: URL;
  readonly kind: UpstreamRequestKind;
  readonly repository: Repository;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface RegistryAnswer extends Answer {
  /** Whether one of the mirror's own accounts stood behind it. */
  readonly isAuthenticated: boolean;
}

/** What the verbs of a registry need to ask it. */
export interface Requests {
  /** The final answer, whatever its status: redirects are followed, challenges met. */
  ask(request: RegistryRequest, options: Waiting): Promise<RegistryAnswer>;
  /** @returns what an answer that is no success means; the answer's body is used up. */
  failureOf(answer: RegistryAnswer, missing: Refusal['missing']): Promise<Error>;
  /** Where something of a repository is, such as its `tags/list?n=1000`. */
  urlOf(repository: Repository, path: string): URL;
}

export interface RequestsDeps {
  readonly registry: URL;
  readonly send: Send;
  readonly authorizer: Authorizer;
  /** Convinces another host, where a redirect led, of an anonymous caller. Nothing of it is remembered here. */
  readonly authorizerFor: (host: URL) => Authorizer;
  readonly accounts: Accounts;
  /** Put before every repository's name; ends with a slash unless it is empty. */
  readonly prefix: string;
  readonly clock: Clock;
}

/** One for the challenge, one for a token that was refused. */
const maxRetries = 2;

export function createRequests(deps: RequestsDeps): Requests {
  const { registry, prefix, accounts, clock } = deps;
  return {
    async ask({ method, url, kind, repository, headers = {} }, { signal }) {
      const caller = {
        credentials: accounts.choose(repository),
        repository: parseRepository(prefix + repository),
        signal,
      };
      const answer = await ask(deps, { method, url, kind, headers }, caller);
      const isAuthenticated = caller.credentials !== anonymous && answer.url.origin === registry.origin;
      return { ...intact(answer), isAuthenticated };
    },
    failureOf: (answer, missing) => failureOf(answer, { missing, isAuthenticated: answer.isAuthenticated, clock }),
    urlOf: (repository, path) => apiUrl(registry, `${prefix}${repository}/${path}`),
  };
}

function apiUrl(registry: URL, path: string): URL {
  return new URL(`${registry.pathname.replace(/\/$/, '')}/v2/${path}`, registry);
}

async function ask(deps: RequestsDeps, exchange: Exchange, caller: Caller): Promise<Answer> {
  const { send, authorizer } = deps;
  const { signal } = caller;
  let authorization = await authorizer.header(caller);
  let answer = await sendFollowing(send, exchange, { signal, authorization });
  for (let retry = 0; retry < maxRetries; retry++) {
    const next = await nextProof(deps, caller, { answer, refused: authorization });
    if (next === undefined) break;
    await discard(answer);
    authorization = next;
    answer = await sendFollowing(send, exchange, { signal, authorization });
  }
  return orAsGuest(deps, caller, { exchange, answer });
}

/**
 * @returns a proof that may turn the registry's answer into another one, or undefined.
 * Some registries challenge only at `/v2/`: gcr.io may answer 401 without a challenge, and those that serve anonymous callers as well
 * may hide what is private behind 403 or 404.
 */
async function nextProof(
  deps: RequestsDeps,
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

async function ping({ send, authorizer, registry }: RequestsDeps, { signal }: Waiting): Promise<void> {
  const answer = await send({ method: 'GET', url: apiUrl(registry, ''), kind: 'ping', headers: {} }, { signal });
  authorizer.inform(answer.headers);
  await discard(answer);
}

/**
 * A host where a redirect led may want a proof of its own (registry.k8s.io leads to Artifact Registry): it gets the token of an
 * anonymous caller, for this request only, and nothing that belongs to the registry.
 */
async function orAsGuest(
  { send, registry, authorizerFor }: RequestsDeps,
  { repository, signal }: Caller,
  { exchange, answer }: { readonly exchange: Exchange; readonly answer: Answer },
): Promise<Answer> {
  const { status, url, headers } = answer;
  if (status !== 401 || url.origin === registry.origin) return answer;
  const guest = { credentials: anonymous, repository: repositoryAt(url) ?? repository, signal };
  const authorization = await authorizerFor(url).answerTo(headers, guest, undefined);
  if (authorization === undefined) return answer;
  await discard(answer);
  return sendFollowing(send, { ...exchange, url }, { signal, authorization });
}

/** The repository as it is called where a redirect led: a challenge without a scope is about that one. */
function repositoryAt({ pathname }: URL): Repository | undefined {
  const [, name] = /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\//.exec(pathname) ?? [];
  return name !== undefined && isRepository(name) ? name : undefined;
}

/**
 * We ask for the bytes as they are. What a registry compresses on the way has another digest than it should (quay #1310).
 * @throws UpstreamError misbehaving
 */
function intact(answer: Answer): Answer {
  const encoding = headerOf(answer.headers, 'content-encoding')?.trim().toLowerCase() ?? '';
  if (encoding === '' || encoding === 'identity' || answer.status >= 300) return answer;
  answer.body.destroy();
  throw new UpstreamError('misbehaving', `${answer.url.host} sent a Content-Encoding that was not asked for`);
}
