import { isDeepStrictEqual } from 'node:util';
import { abortable } from '../../../mirror/concurrency/abortable-wait.ts';
import type { Clock } from '../../../mirror/ports/clock.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import { boundedMap } from '../../../mirror/concurrency/remembered.ts';
import { BackOff } from '../back-off.ts';
import { ownerOf, Refusals, type SentSecret } from './refusals.ts';
import type { Send } from '../../transport/exchange.ts';
import type { Credentials, Secret, SecretRequest } from '../credentials.ts';
import { requestToken, type TokenRequest } from './token-endpoint.ts';
import type { Token } from './token-response.ts';

export interface TokensDeps {
  readonly send: Send;
  readonly clock: Clock;
  /** The timeout for one token, including the account's secret. */
  readonly timeoutMs: number;
}

/** A running request for a token. */
interface PendingToken {
  readonly token: Promise<Token>;
  readonly stop: AbortController;
  waiters: number;
}

const maxTokens = 10_000;

/**
 * Tokens of one upstream, one for each account, realm, service and set of scopes. A key without the account would give one account's
 * rights to another (artifact-keeper #3606). Concurrent callers share one request, which continues when one of them leaves, and is aborted
 * when all have left: clients may name any number of repositories.
 */
export class Tokens {
  readonly #deps: TokensDeps;
  readonly #known = boundedMap<string, Token>(maxTokens);
  readonly #pending = new Map<string, PendingToken>();
  readonly #refusals: Refusals;
  readonly #backOff: BackOff;

  constructor(deps: TokensDeps) {
    this.#deps = deps;
    this.#refusals = new Refusals(deps.clock);
    this.#backOff = new BackOff(deps.clock);
  }

  /**
   * @param options.repository the repository's name at the registry.
   * @param options.refused a header that the registry refused: it is not returned again.
   * @returns the value of the Authorization header.
   */
  async header(
    request: TokenRequest,
    credentials: Credentials,
    { signal, repository, refused }: SecretRequest & { readonly refused?: string | undefined },
  ): Promise<string> {
    const owner = { credentials, repository };
    const key = tokenKey(request, owner);
    const known = this.#known.get(key);
    if (known && known.header !== refused && this.#deps.clock.monotonicMs() < known.renewAtMs) return known.header;
    const pending = this.#pending.get(key) ?? this.#fetch(key, request, owner);
    pending.waiters += 1;
    try {
      return (await abortable(pending.token, signal)).header;
    } finally {
      pending.waiters -= 1;
      if (pending.waiters === 0) this.#end(key, pending);
    }
  }

  #fetch(key: string, request: TokenRequest, owner: TokenOwner): PendingToken {
    const stop = new AbortController();
    const token = this.#request(request, owner, stop).then((got) => {
      this.#known.set(key, got);
      return got;
    });
    const pending: PendingToken = { token, stop, waiters: 0 };
    this.#pending.set(key, pending);
    return pending;
  }

  /** The token arrived or failed, or no request waits for it. */
  #end(key: string, pending: PendingToken): void {
    if (this.#pending.get(key) === pending) this.#pending.delete(key);
    pending.stop.abort(new UpstreamError('busy', 'no request waits for this token any more'));
  }

  async #request(request: TokenRequest, owner: TokenOwner, stop: Waiting): Promise<Token> {
    const { timeoutMs } = this.#deps;
    const late = AbortSignal.timeout(timeoutMs);
    try {
      return await this.#exchange(request, { ...owner, signal: AbortSignal.any([late, stop.signal]) });
    } catch (cause) {
      if (!late.aborted || stop.signal.aborted) throw cause;
      throw new UpstreamError('timeout', `${request.realm.host} sent no token within ${timeoutMs} ms`, { cause });
    }
  }

  /** A refused secret is retried only if it was rotated meanwhile: repeating it could lock the account. */
  async #exchange(request: TokenRequest, owner: TokenOwner & Waiting): Promise<Token> {
    const { credentials } = owner;
    const secret = await credentials.secret(owner);
    try {
      return await this.#send(secret, request, owner);
    } catch (cause) {
      if (!secret || !isRefusal(cause)) throw cause;
      credentials.forget(secret);
      const renewed = await credentials.secret(owner);
      if (isDeepStrictEqual(renewed, secret)) throw cause;
      return this.#send(renewed, request, owner);
    }
  }

  async #send(secret: Secret | undefined, request: TokenRequest, owner: TokenOwner & Waiting): Promise<Token> {
    const sent = secret && { ...owner, what: tokenKey(request, owner), secret };
    const refusal = (sent && this.#refusals.of(sent)) ?? this.#rateLimited(request, owner);
    if (refusal) throw refusal;
    try {
      const token = await requestToken(this.#deps, request, { secret, signal: owner.signal });
      if (sent) this.#refusals.accepted(sent);
      return token;
    } catch (cause) {
      if (sent && isRefusal(cause)) this.#refusals.record(sent, cause);
      if (isOverload(cause)) this.#backOff.begin(rateLimitKey(request, owner), cause.retryAfterSeconds);
      throw cause;
    }
  }

  /** The error while the endpoint is rate limited. */
  #rateLimited(request: TokenRequest, owner: TokenOwner): UpstreamError | undefined {
    const leftMs = this.#backOff.leftMs(rateLimitKey(request, owner));
    if (leftMs === 0) return undefined;
    const message = `${request.realm.host}: the token endpoint is rate limiting this account`;
    return new UpstreamError('overloaded', message, { retryAfterSeconds: Math.ceil(leftMs / 1_000) });
  }
}

/** The account and the repository of a token. */
type TokenOwner = Pick<SentSecret, 'credentials' | 'repository'>;

function isRefusal(cause: unknown): cause is UpstreamError {
  return cause instanceof UpstreamError && cause.reason === 'refused';
}

function isOverload(cause: unknown): cause is UpstreamError {
  return cause instanceof UpstreamError && cause.reason === 'overloaded';
}

/** The key of a rate limit: an account at a token endpoint. */
function rateLimitKey({ realm }: TokenRequest, owner: TokenOwner): string {
  return `${ownerOf(owner)} ${realm.origin}`;
}

function tokenKey({ realm, service, scopes }: TokenRequest, owner: TokenOwner): string {
  return JSON.stringify([ownerOf(owner), realm.href, service, scopes.toSorted()]);
}
