import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer, UpstreamRequestKind } from '../../mirror/ports/observer.ts';
import type { UpstreamMonitor } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { parseRepository, type Repository } from '../../oci/reference.ts';
import type { Accounts, Limited } from '../credentials/accounts.ts';
import { anonymous, type Credentials } from '../credentials/credentials.ts';
import type { Caller } from '../credentials/protocol/authorizer.ts';
import { type Answer, headerOf } from '../transport/answer.ts';
import type { Exchange } from '../transport/exchange.ts';
import { followRedirects } from '../transport/redirects.ts';
import { errorOfAnswer, type Refusal } from '../transport/answer-errors.ts';
import { type HeadKind, HeadRecord, type HeadRefusal } from './head-record.ts';
import { anonymousAuthorization, nextAuthorization, type ProofDeps } from './proofs.ts';
import { rateLimitOf, retryAfterSecondsOf } from '../transport/rate-limits.ts';
import { discard } from '../transport/read-at-most.ts';

/** A request to one registry. */
export interface RegistryRequest {
  readonly method: 'GET' | 'HEAD';
  /** Made by `urlOf`, or the URL of a next page. */
  readonly url: URL;
  readonly kind: UpstreamRequestKind;
  readonly repository: Repository;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface RegistryAnswer extends Answer {
  /** Whether the request had an account of the mirror. */
  readonly isAuthenticated: boolean;
}

/** Sends requests to one registry. */
export interface Requests {
  /** Sends a request: follows redirects, answers challenges, and uses the next account when one is at its limit. @returns the final answer. */
  ask(request: RegistryRequest, options: Waiting): Promise<RegistryAnswer>;
  /** @returns the error for an unsuccessful answer; consumes its body. */
  failureOf(answer: RegistryAnswer, missing: Refusal['missing'], about?: Pick<Refusal, 'isListing'>): Promise<Error>;
  /** Whether HEAD of such content is known not to work at this registry. */
  hasNoHead(kind: HeadKind): boolean;
  /** Records that a HEAD was answered, or how it was refused while GET succeeded. */
  recordHead(kind: HeadKind, outcome: 'answered' | HeadRefusal): void;
  /** The URL of a resource of a repository, such as `tags/list?n=1000`. */
  urlOf(repository: Repository, path: string): URL;
}

export interface RequestsDeps extends ProofDeps {
  /** Which `http:` URLs a redirect from an `https:` one may lead to. */
  readonly mayBePlain: (url: URL) => boolean;
  readonly accounts: Accounts;
  /** Prefix of every repository's name; ends with a slash unless it is empty. */
  readonly prefix: string;
  /** Sent as `?ns=`, if the registry serves several. */
  readonly namespace: string | undefined;
  /** The label in events for the observer. */
  readonly upstream: string;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly monitor?: UpstreamMonitor | undefined;
}

export function createRequests(deps: RequestsDeps): Requests {
  const { registry, apiRoot, prefix, namespace, clock } = deps;
  const heads = { manifest: new HeadRecord(clock), blob: new HeadRecord(clock) };
  return {
    async ask({ method, url, kind, repository, headers = {} }, { signal }) {
      const full = new URL(url);
      if (namespace !== undefined) full.searchParams.set('ns', namespace);
      const accounts = deps.accounts.choose(repository);
      return intact(
        await sendAsFirstAvailable(accounts, deps, { method, url: full, kind, headers }, { repository, signal }),
      );
    },
    failureOf: (answer, missing, about) => {
      const isElsewhere = answer.url.origin !== registry.origin;
      return errorOfAnswer(answer, { ...about, missing, isAuthenticated: answer.isAuthenticated, isElsewhere, clock });
    },
    hasNoHead: (kind) => heads[kind].areUseless,
    recordHead: (kind, outcome) => heads[kind].record(outcome),
    urlOf: (repository, path) => new URL(`${prefix}${repository}/${path}`, apiRoot),
  };
}

interface About extends Waiting {
  readonly repository: Repository;
}

/**
 * Sends a request with the first account, and with the next one if that is rate limited. Accounts that are still limited are skipped.
 * @throws UpstreamError overloaded when all of them are.
 */
async function sendAsFirstAvailable(
  candidates: readonly Credentials[],
  deps: RequestsDeps,
  exchange: Exchange,
  about: About,
): Promise<RegistryAnswer> {
  const { registry, accounts, prefix } = deps;
  const [credentials, ...others] = usable(candidates, deps, exchange);
  if (!credentials) throw rateLimited(candidates, deps, exchange);
  try {
    const repository = parseRepository(prefix + about.repository);
    const answer = await sendAs(deps, exchange, { credentials, repository, signal: about.signal });
    const isHome = answer.url.origin === registry.origin;
    if (isHome && reportsLimits(answer)) recordLimits(deps, credentials, { exchange, answer });
    const isLimited = isHome && answer.status === 429;
    const isLast = usable(others, deps, exchange).length === 0;
    if (!isLimited || isLast) return { ...answer, isAuthenticated: isHome && credentials !== anonymous };
    await discard(answer);
  } catch (cause) {
    // The 429 may come from the token endpoint.
    if (!(cause instanceof UpstreamError) || cause.reason !== 'overloaded') throw cause;
    accounts.deprioritize(credentials);
    if (usable(others, deps, exchange).length === 0) throw cause;
  }
  return sendAsFirstAvailable(others, deps, exchange, about);
}

function usable(candidates: readonly Credentials[], { accounts }: RequestsDeps, exchange: Exchange) {
  return candidates.filter((one) => accounts.backOffMs(one, limitClassOf(exchange)) === 0);
}

function rateLimited(candidates: readonly Credentials[], deps: RequestsDeps, exchange: Exchange): UpstreamError {
  const leftMs = Math.min(...candidates.map((one) => deps.accounts.backOffMs(one, limitClassOf(exchange))));
  return new UpstreamError('overloaded', `${deps.registry.host} is rate limiting the mirror's accounts`, {
    retryAfterSeconds: Math.ceil(leftMs / 1_000),
  });
}

/** Docker Hub, "Usage and limits: Pulls": a GET of a manifest counts, a HEAD does not, and blobs do not. */
function limitClassOf({ method, kind }: Exchange): 'pull' | 'other' {
  return method === 'GET' && kind === 'manifest' ? 'pull' : 'other';
}

/** Docker Hub, "Usage and limits": the pull limit answers with an error in JSON, the limit per IP address on all requests with a plain 429. */
function limitedBy(exchange: Exchange, { headers }: Answer): Limited {
  const isJson = (headerOf(headers, 'content-type') ?? '').includes('json');
  return limitClassOf(exchange) === 'pull' && isJson ? 'pulls' : 'everything';
}

function reportsLimits({ status, headers }: Answer): boolean {
  return status === 429 || headers['ratelimit-limit'] !== undefined;
}

function recordLimits(
  deps: RequestsDeps,
  credentials: Credentials,
  { exchange, answer }: { readonly exchange: Exchange; readonly answer: Answer },
): void {
  const { accounts, observer, monitor, upstream, clock } = deps;
  const { status, headers } = answer;
  const limit = rateLimitOf(headers, clock.now());
  // Visibility checks are anonymous: ignore the anonymous rate limit that they see.
  if (limit && exchange.kind !== 'visibility') {
    const report = { upstream, account: credentials.account, ...limit };
    observer.rateLimitSeen(report);
    monitor?.rateLimits.record(report);
  }
  if (limit?.remaining === 0) accounts.deprioritize(credentials);
  if (status !== 429) return;
  accounts.backOff(credentials, limitedBy(exchange, answer), retryAfterSecondsOf(headers, clock.now()));
}

/** One retry for the challenge, one for a refused token. */
const maxRetries = 2;

/** Sends a request with one account; follows redirects and answers challenges. @returns the final answer, with any status. */
async function sendAs(deps: RequestsDeps, exchange: Exchange, caller: Caller): Promise<Answer> {
  const { authorizer } = deps;
  let authorization = await authorizer.header(caller);
  let answer = await sendFollowing(deps, exchange, caller, authorization);
  if (authorization !== undefined) recordVerdict(deps, caller, { answer, authorization });
  for (let retry = 0; answer.status >= 400 && retry < maxRetries; retry++) {
    const next = await nextAuthorization(deps, caller, { answer, authorization });
    if (next === undefined) break;
    await discard(answer);
    authorization = next;
    answer = await sendFollowing(deps, exchange, caller, authorization);
    recordVerdict(deps, caller, { answer, authorization });
  }
  return answer.status >= 400 ? sendAnonymously(deps, exchange, caller, answer) : answer;
}

/**
 * A host after a redirect may want credentials of its own (registry.k8s.io redirects to Artifact Registry): it gets an anonymous token, a
 * new one if it refuses the previous one, and none of the registry's credentials.
 */
async function sendAnonymously(
  deps: RequestsDeps,
  exchange: Exchange,
  caller: Caller,
  refused: Answer,
): Promise<Answer> {
  let answer = refused;
  let authorization: string | undefined;
  for (let retry = 0; retry < maxRetries; retry++) {
    const { url } = answer;
    authorization = await anonymousAuthorization(deps, caller, { answer, authorization });
    if (authorization === undefined) return answer;
    await discard(answer);
    answer = await sendFollowing(deps, { ...exchange, url }, caller, authorization);
  }
  return answer;
}

async function sendFollowing(
  { send, mayBePlain }: RequestsDeps,
  exchange: Exchange,
  { signal }: Waiting,
  authorization: string | undefined,
): Promise<Answer> {
  const proof = authorization === undefined ? {} : { authorization };
  const answer = await send({ ...exchange, headers: { ...exchange.headers, ...proof } }, { signal });
  const isFinal = answer.status < 300 || answer.status >= 400;
  return isFinal ? answer : followRedirects(send, { exchange, answer }, { signal, authorization, mayBePlain });
}

/** A registry that redirects has accepted the credentials. */
function recordVerdict(
  { authorizer, registry }: RequestsDeps,
  caller: Caller,
  { answer, authorization }: { readonly answer: Answer; readonly authorization: string },
): void {
  const isHome = answer.url.origin === registry.origin;
  if (!isHome || answer.status < 400) authorizer.recordVerdict('accepted', caller, authorization);
  else if (answer.status === 401) authorizer.recordVerdict('refused', caller, authorization);
}

/**
 * The mirror requests bytes without a content coding. Compressed bytes would have another digest (quay #1310).
 * @throws UpstreamError misbehaving
 */
function intact(answer: RegistryAnswer): RegistryAnswer {
  const encoding = headerOf(answer.headers, 'content-encoding')?.trim().toLowerCase() ?? '';
  if (encoding === '' || encoding === 'identity' || answer.status >= 300) return answer;
  answer.body.destroy();
  throw new UpstreamError('misbehaving', `${answer.url.host} sent a Content-Encoding that was not asked for`);
}
