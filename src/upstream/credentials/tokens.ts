import { LRUCache } from 'lru-cache';
import type { Clock, Waiting } from '../../mirror/ports.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Send } from '../exchange.ts';
import type { Credentials } from './credentials.ts';
import { requestToken, type TokenRequest } from './token-endpoint.ts';
import type { Token } from './token-response.ts';

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
    const secret = await credentials.secret({ signal });
    try {
      return await requestToken(this.#deps, request, { secret, signal });
    } catch (cause) {
      if (secret && cause instanceof UpstreamError && cause.trouble === 'refused') credentials.forget(secret);
      if (!signal.aborted) throw cause;
      throw new UpstreamError('timeout', `${request.realm.host} sent no token within ${timeoutMs} ms`, { cause });
    }
  }
}

function keyOf({ realm, service, scopes }: TokenRequest, { account }: Credentials): string {
  return JSON.stringify([account, realm.href, service, scopes.toSorted()]);
}

/** Whoever waits may leave; the work goes on. */
async function unlessAborted<Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const left = Promise.withResolvers<never>();
  const leave = () => left.reject(signal.reason);
  if (signal.aborted) leave();
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([work, left.promise]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
