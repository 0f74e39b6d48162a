import type { Clock, Observer, UpstreamRequestKind, Waiting } from '../mirror/ports.ts';
import { UpstreamError } from '../oci/errors.ts';
import { parseRepository, type Repository } from '../oci/reference.ts';
import { failureOf, type Refusal } from './answer-errors.ts';
import { headerOf, retryAfterSecondsOf } from './answer-headers.ts';
import { type AskingDeps, apiUrl, askAs } from './asking.ts';
import type { Accounts } from './credentials/accounts.ts';
import { anonymous, type Credentials } from './credentials/credentials.ts';
import type { Answer, Exchange } from './exchange.ts';
import { rateLimitOf } from './rate-limit.ts';
import { discard } from './read-at-most.ts';

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
  /** The final answer, whatever its status: redirects are followed, challenges met, accounts changed when one is at its limit. */
  ask(request: RegistryRequest, options: Waiting): Promise<RegistryAnswer>;
  /** @returns what an answer that is no success means; the answer's body is used up. */
  failureOf(answer: RegistryAnswer, missing: Refusal['missing']): Promise<Error>;
  /** Where something of a repository is, such as its `tags/list?n=1000`. */
  urlOf(repository: Repository, path: string): URL;
}

export interface RequestsDeps extends AskingDeps {
  readonly accounts: Accounts;
  /** Put before every repository's name; ends with a slash unless it is empty. */
  readonly prefix: string;
  /** Sent along as `?ns=`, where the registry stands for several. */
  readonly namespace: string | undefined;
  /** Labels what the observer is told. */
  readonly upstream: string;
  readonly clock: Clock;
  readonly observer: Observer;
}

export function createRequests(deps: RequestsDeps): Requests {
  const { registry, prefix, namespace, clock } = deps;
  return {
    async ask({ method, url, kind, repository, headers = {} }, { signal }) {
      const full = new URL(url);
      if (namespace !== undefined) full.searchParams.set('ns', namespace);
      const accounts = deps.accounts.choose(repository);
      return intact(await askAsAnyOf(accounts, deps, { method, url: full, kind, headers }, { repository, signal }));
    },
    failureOf: (answer, missing) => {
      const isElsewhere = answer.url.origin !== registry.origin;
      return failureOf(answer, { missing, isAuthenticated: answer.isAuthenticated, isElsewhere, clock });
    },
    urlOf: (repository, path) => apiUrl(registry, `${prefix}${repository}/${path}`),
  };
}

interface About extends Waiting {
  readonly repository: Repository;
}

/** Asks as the first account; as the next one when that was told to slow down. Each is asked once, and those at rest not at all. */
async function askAsAnyOf(
  [credentials, ...others]: readonly [Credentials, ...Credentials[]],
  deps: RequestsDeps,
  exchange: Exchange,
  about: About,
): Promise<RegistryAnswer> {
  const { registry, accounts, prefix } = deps;
  const [next, ...rest] = others;
  const isLast = next === undefined || accounts.isResting(next);
  try {
    const repository = parseRepository(prefix + about.repository);
    const answer = await askAs(deps, exchange, { credentials, repository, signal: about.signal });
    const isHome = answer.url.origin === registry.origin;
    if (isHome) noteLimits(deps, credentials, answer);
    const isLimited = isHome && answer.status === 429;
    if (!isLimited || isLast) return { ...answer, isAuthenticated: isHome && credentials !== anonymous };
    await discard(answer);
  } catch (cause) {
    // A token endpoint may be the one that says so.
    if (!(cause instanceof UpstreamError) || cause.trouble !== 'overloaded') throw cause;
    accounts.rest(credentials, cause.retryAfterSeconds);
    if (isLast) throw cause;
  }
  return askAsAnyOf([next, ...rest], deps, exchange, about);
}

function noteLimits(deps: RequestsDeps, credentials: Credentials, { status, headers }: Answer): void {
  const { accounts, observer, upstream, clock } = deps;
  const limit = rateLimitOf(headers);
  if (limit) observer.rateLimitSeen({ upstream, account: credentials.account, ...limit });
  if (status === 429) accounts.rest(credentials, retryAfterSecondsOf(headers, clock.now()));
  else if (limit?.remaining === 0) accounts.rest(credentials, undefined);
}

/**
 * We ask for the bytes as they are. What a registry compresses on the way has another digest than it should (quay #1310).
 * @throws UpstreamError misbehaving
 */
function intact(answer: RegistryAnswer): RegistryAnswer {
  const encoding = headerOf(answer.headers, 'content-encoding')?.trim().toLowerCase() ?? '';
  if (encoding === '' || encoding === 'identity' || answer.status >= 300) return answer;
  answer.body.destroy();
  throw new UpstreamError('misbehaving', `${answer.url.host} sent a Content-Encoding that was not asked for`);
}
