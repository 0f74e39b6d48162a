import { isDeepStrictEqual } from 'node:util';
import { LRUCache } from 'lru-cache';
import type { Clock, Waiting } from '../../mirror/ports.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Send } from '../exchange.ts';
import type { Credentials } from './credentials.ts';
import { requestToken, type TokenRequest } from './token-endpoint.ts';
import type { Token } from './token-response.ts';
import { unlessAborted } from './unless-aborted.ts';

export interface TokensDeps {
  readonly send: Send;
  readonly clock: Clock;
  /** For one token, including the account's secret. */
  readonly timeoutMs: number;
}

const maxTokens = 10_000;

/**
 * Tokens of one upstream, one for each account, realm, service and set of scopes; leaving the account out of the key hands one account's
 * rights to another (artifact-keeper #3606). Those who need the same token at the same time share one request, which goes on
 * when one of them leaves.
 */
export class Tokens {
  readonly #deps: TokensDeps;
  readonly #known = new LRUCache<string, Token>({ max: maxTokens });
  readonly #coming = new Map<string, Promise<Token>>();

  constructor(deps: TokensDeps) {
    this.#deps = deps;
  }

  /**
   * @param options.refused a header the registry did not accept: it is not handed out again.
   * @returns the value of the Authorization header.
   */
  async header(
    request: TokenRequest,
    credentials: Credentials,
    { signal, refused }: Waiting & { readonly refused?: string | undefined },
  ): Promise<string> {
    const key = keyOf(request, credentials);
    const known = this.#known.get(key);
    if (known && known.header !== refused && this.#deps.clock.now() < known.renewAtMs) return known.header;
    const { header } = await unlessAborted(this.#coming.get(key) ?? this.#fetch(key, request, credentials), signal);
    return header;
  }

  #fetch(key: string, request: TokenRequest, credentials: Credentials): Promise<Token> {
    const coming = this.#request(request, credentials)
      .then((token) => {
        this.#known.set(key, token);
        return token;
      })
      .finally(() => this.#coming.delete(key));
    this.#coming.set(key, coming);
    return coming;
  }

  async #request(request: TokenRequest, credentials: Credentials): Promise<Token> {
    const { timeoutMs } = this.#deps;
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      return await this.#exchange(request, credentials, signal);
    } catch (cause) {
      if (!signal.aborted) throw cause;
      throw new UpstreamError('timeout', `${request.realm.host} sent no token within ${timeoutMs} ms`, { cause });
    }
  }

  /** A secret that is refused is tried again only if it was rotated meanwhile: repeating it would lock the account. */
  async #exchange(request: TokenRequest, credentials: Credentials, signal: AbortSignal): Promise<Token> {
    const secret = await credentials.secret({ signal });
    try {
      return await requestToken(this.#deps, request, { secret, signal });
    } catch (cause) {
      const isRefused = cause instanceof UpstreamError && cause.trouble === 'refused';
      if (!isRefused || !secret) throw cause;
      credentials.forget(secret);
      const renewed = await credentials.secret({ signal });
      if (isDeepStrictEqual(renewed, secret)) throw cause;
      return requestToken(this.#deps, request, { secret: renewed, signal });
    }
  }
}

function keyOf({ realm, service, scopes }: TokenRequest, { account }: Credentials): string {
  return JSON.stringify([account, realm.href, service, scopes.toSorted()]);
}
