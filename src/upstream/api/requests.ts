import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer, UpstreamRequestKind } from '../../mirror/ports/observer.ts';
import type { UpstreamMonitor } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { parseRepository, type Repository } from '../../oci/reference.ts';
import { failureOf, type Refusal } from './answer-errors.ts';
import { headerOf, rateLimitOf, retryAfterSecondsOf } from './answer-headers.ts';
import { apiUrl, askAs, type AskingDeps } from './asking.ts';
import type { Accounts, Limited } from '../credentials/accounts.ts';
import { anonymous, type Credentials } from '../credentials/credentials.ts';
import type { Answer, Exchange } from '../transport/exchange.ts';
import { discard } from './read-at-most.ts';

/** The kinds of content that HEAD is used for. */
export type HeadKind = 'manifest' | 'blob';

/** After this time HEAD is tried again: the registry may have been fixed. */
const uselessForMs = 10 * 60_000;
/** The server does not support the method (RFC 9110 §15.5.6, §15.5.12, §15.6.2). */
const unsupportedMethod: ReadonlySet<number> = new Set([405, 411, 501]);
/**
 * Any other refusal may be a transient error of a lagging replica or a firewall. Docker Hub counts GETs of manifests as pulls, so one such
 * refusal must not cause ten minutes of GETs.
 */
const transientErrorsTolerated = 1;

/** Whether to try HEAD at one registry, for one kind of content. */
export class HeadRecord {
  readonly #clock: Clock;
  #uselessUntilMs = -Infinity;
  #transientErrors = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get areUseless(): boolean {
    return this.#clock.monotonicMs() < this.#uselessUntilMs;
  }

  /** @param outcome `answered`, or the status of a refused HEAD after which GET succeeded. */
  note(outcome: 'answered' | number): void {
    this.#transientErrors = outcome === 'answered' ? 0 : this.#transientErrors + 1;
    if (outcome === 'answered') return;
    const isUseless = unsupportedMethod.has(outcome) || this.#transientErrors > transientErrorsTolerated;
    if (isUseless) this.#uselessUntilMs = this.#clock.monotonicMs() + uselessForMs;
  }
}

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

/** Requests to one registry, as its methods need them. */
export interface Requests {
  /** Sends a request: follows redirects, answers challenges, and uses the next account when one is at its limit. @returns the final answer. */
  ask(request: RegistryRequest, options: Waiting): Promise<RegistryAnswer>;
  /** @returns the meaning of an unsuccessful answer, whose body is consumed. */
  failureOf(answer: RegistryAnswer, missing: Refusal['missing'], about?: Pick<Refusal, 'isListing'>): Promise<Error>;
  /** Whether HEAD of such content is known not to work at this registry. */
  hasNoHead(kind: HeadKind): boolean;
  /** Records that a HEAD was answered, or was refused with this status while GET succeeded. */
  noteHead(kind: HeadKind, outcome: 'answered' | number): void;
  /** The URL of a resource of a repository, such as `tags/list?n=1000`. */
  urlOf(repository: Repository, path: string): URL;
}

export interface RequestsDeps extends AskingDeps {
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
  const { registry, prefix, namespace, clock } = deps;
  const heads = { manifest: new HeadRecord(clock), blob: new HeadRecord(clock) };
  return {
    async ask({ method, url, kind, repository, headers = {} }, { signal }) {
      const full = new URL(url);
      if (namespace !== undefined) full.searchParams.set('ns', namespace);
      const accounts = deps.accounts.choose(repository);
      return intact(await askAsAnyOf(accounts, deps, { method, url: full, kind, headers }, { repository, signal }));
    },
    failureOf: (answer, missing, about) => {
      const isElsewhere = answer.url.origin !== registry.origin;
      return failureOf(answer, { ...about, missing, isAuthenticated: answer.isAuthenticated, isElsewhere, clock });
    },
    hasNoHead: (kind) => heads[kind].areUseless,
    noteHead: (kind, outcome) => heads[kind].note(outcome),
    urlOf: (repository, path) => apiUrl(registry, `${prefix}${repository}/${path}`),
  };
}

interface About extends Waiting {
  readonly repository: Repository;
}

/**
 * Sends a request with the first account, and with the next one if that is rate limited. Accounts that are still limited are skipped.
 * @throws UpstreamError overloaded when all of them are.
 */
async function askAsAnyOf(
  candidates: readonly Credentials[],
  deps: RequestsDeps,
  exchange: Exchange,
  about: About,
): Promise<RegistryAnswer> {
  const { registry, accounts, prefix } = deps;
  const [credentials, ...others] = askable(candidates, deps, exchange);
  if (!credentials) throw heldBack(candidates, deps, exchange);
  try {
    const repository = parseRepository(prefix + about.repository);
    const answer = await askAs(deps, exchange, { credentials, repository, signal: about.signal });
    const isHome = answer.url.origin === registry.origin;
    if (isHome) noteLimits(deps, credentials, { exchange, answer });
    const isLimited = isHome && answer.status === 429;
    const isLast = askable(others, deps, exchange).length === 0;
    if (!isLimited || isLast) return { ...answer, isAuthenticated: isHome && credentials !== anonymous };
    await discard(answer);
  } catch (cause) {
    // The 429 may come from the token endpoint.
    if (!(cause instanceof UpstreamError) || cause.reason !== 'overloaded') throw cause;
    accounts.spare(credentials);
    if (askable(others, deps, exchange).length === 0) throw cause;
  }
  return askAsAnyOf(others, deps, exchange, about);
}

function askable(candidates: readonly Credentials[], { accounts }: RequestsDeps, exchange: Exchange) {
  return candidates.filter((one) => accounts.heldBackMs(one, whatIs(exchange)) === 0);
}

function heldBack(candidates: readonly Credentials[], deps: RequestsDeps, exchange: Exchange): UpstreamError {
  const leftMs = Math.min(...candidates.map((one) => deps.accounts.heldBackMs(one, whatIs(exchange))));
  return new UpstreamError('overloaded', `${deps.registry.host} asked to be left alone for a while`, {
    retryAfterSeconds: Math.ceil(leftMs / 1_000),
  });
}

/** Docker Hub, "Usage and limits: Pulls": a GET of a manifest counts, a HEAD does not, and blobs do not. */
function whatIs({ method, kind }: Exchange): 'pull' | 'other' {
  return method === 'GET' && kind === 'manifest' ? 'pull' : 'other';
}

/** Docker Hub, "Usage and limits": the pull limit answers with an error in JSON, the limit on all requests of an address with a plain 429. */
function limitedBy(exchange: Exchange, { headers }: Answer): Limited {
  const isJson = (headerOf(headers, 'content-type') ?? '').includes('json');
  return whatIs(exchange) === 'pull' && isJson ? 'pulls' : 'everything';
}

function noteLimits(
  deps: RequestsDeps,
  credentials: Credentials,
  { exchange, answer }: { readonly exchange: Exchange; readonly answer: Answer },
): void {
  const { accounts, observer, monitor, upstream, clock } = deps;
  const { status, headers } = answer;
  const limit = rateLimitOf(headers);
  // Visibility checks are anonymous: ignore the anonymous rate limit that they see.
  if (limit && exchange.kind !== 'visibility') {
    const report = { upstream, account: credentials.account, ...limit };
    observer.rateLimitSeen(report);
    monitor?.rateLimitSeen(report);
  }
  if (limit?.remaining === 0) accounts.spare(credentials);
  if (status !== 429) return;
  accounts.holdBack(credentials, limitedBy(exchange, answer), retryAfterSecondsOf(headers, clock.now()));
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
