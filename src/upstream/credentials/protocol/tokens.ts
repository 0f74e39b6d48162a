import { isDeepStrictEqual } from 'node:util';
import { abortable } from '../../../mirror/concurrency/abortable-wait.ts';
import type { Clock } from '../../../mirror/ports/clock.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import { boundedMap } from '../../../mirror/concurrency/remembered.ts';
import { BackOff, ownerOf, Refusals, type Shown } from './refusals.ts';
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
interface Coming {
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
  readonly #coming = new Map<string, Coming>();
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
    const buyer = { credentials, repository };
    const key = tokenKey(request, buyer);
    const known = this.#known.get(key);
    if (known && known.header !== refused && this.#deps.clock.monotonicMs() < known.renewAtMs) return known.header;
    const coming = this.#coming.get(key) ?? this.#fetch(key, request, buyer);
    coming.waiters += 1;
    try {
      return (await abortable(coming.token, signal)).header;
    } finally {
      coming.waiters -= 1;
      if (coming.waiters === 0) this.#end(key, coming);
    }
  }

  #fetch(key: string, request: TokenRequest, buyer: Buyer): Coming {
    const stop = new AbortController();
    const token = this.#request(request, buyer, stop).then((got) => {
      this.#known.set(key, got);
      return got;
    });
    const coming: Coming = { token, stop, waiters: 0 };
    this.#coming.set(key, coming);
    return coming;
  }

  /** The token arrived or failed, or nobody waits for it. */
  #end(key: string, coming: Coming): void {
    if (this.#coming.get(key) === coming) this.#coming.delete(key);
    coming.stop.abort(new UpstreamError('busy', 'no request waits for this token any more'));
  }

  async #request(request: TokenRequest, buyer: Buyer, stop: Waiting): Promise<Token> {
    const { timeoutMs } = this.#deps;
    const late = AbortSignal.timeout(timeoutMs);
    try {
      return await this.#exchange(request, { ...buyer, signal: AbortSignal.any([late, stop.signal]) });
    } catch (cause) {
      if (!late.aborted || stop.signal.aborted) throw cause;
      throw new UpstreamError('timeout', `${request.realm.host} sent no token within ${timeoutMs} ms`, { cause });
    }
  }

  /** A refused secret is retried only if it was rotated meanwhile: repeating it could lock the account. */
  async #exchange(request: TokenRequest, buyer: Buyer & Waiting): Promise<Token> {
    const { credentials } = buyer;
    const secret = await credentials.secret(buyer);
    try {
      return await this.#show(secret, request, buyer);
    } catch (cause) {
      if (!secret || !isRefusal(cause)) throw cause;
      credentials.forget(secret);
      const renewed = await credentials.secret(buyer);
      if (isDeepStrictEqual(renewed, secret)) throw cause;
      return this.#show(renewed, request, buyer);
    }
  }

  async #show(secret: Secret | undefined, request: TokenRequest, buyer: Buyer & Waiting): Promise<Token> {
    const shown = secret && { ...buyer, what: tokenKey(request, buyer), secret };
    const standing = (shown && this.#refusals.of(shown)) ?? this.#heldBack(request, buyer);
    if (standing) throw standing;
    try {
      const token = await requestToken(this.#deps, request, { secret, signal: buyer.signal });
      if (shown) this.#refusals.accepted(shown);
      return token;
    } catch (cause) {
      if (shown && isRefusal(cause)) this.#refusals.note(shown, cause);
      if (isOverload(cause)) this.#backOff.begin(doorOf(request, buyer), cause.retryAfterSeconds);
      throw cause;
    }
  }

  /** The error while the endpoint is rate limited. */
  #heldBack(request: TokenRequest, buyer: Buyer): UpstreamError | undefined {
    const leftMs = this.#backOff.leftMs(doorOf(request, buyer));
    if (leftMs === 0) return undefined;
    const message = `${request.realm.host}: the token endpoint is rate limiting this account`;
    return new UpstreamError('overloaded', message, { retryAfterSeconds: Math.ceil(leftMs / 1_000) });
  }
}

/** The account and the repository of a token. */
type Buyer = Pick<Shown, 'credentials' | 'repository'>;

function isRefusal(cause: unknown): cause is UpstreamError {
  return cause instanceof UpstreamError && cause.reason === 'refused';
}

function isOverload(cause: unknown): cause is UpstreamError {
  return cause instanceof UpstreamError && cause.reason === 'overloaded';
}

/** The key of a rate limit: an account at a token endpoint. */
function doorOf({ realm }: TokenRequest, buyer: Buyer): string {
  return `${ownerOf(buyer)} ${realm.origin}`;
}

function tokenKey({ realm, service, scopes }: TokenRequest, buyer: Buyer): string {
  return JSON.stringify([ownerOf(buyer), realm.href, service, scopes.toSorted()]);
}
