import type { IncomingHttpHeaders } from 'node:http';
import { LRUCache } from 'lru-cache';
import type { Waiting } from '../../mirror/ports.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Repository } from '../../oci/reference.ts';
import { type Demand, demandOf, parseChallenges } from './challenge.ts';
import { type Credentials, headerShowing } from './credentials.ts';
import { isTrustedRealm } from './realm-trust.ts';
import type { Tokens } from './tokens.ts';

export interface AuthorizerDeps {
  readonly registry: URL;
  readonly realmHosts: readonly string[];
  readonly tokens: Tokens;
}

/** Who asks, and for what. */
export interface Caller extends Waiting {
  readonly credentials: Credentials;
  readonly repository: Repository;
}

const maxRememberedScopes = 10_000;

/**
 * Knows how one registry wants to be convinced. What a 401 demanded is remembered, so that the next request carries its token at once:
 * a token costs one round trip where the token is new, and none where it is not.
 */
export class Authorizer {
  readonly #deps: AuthorizerDeps;
  #demand: Demand | undefined;
  #isInformed = false;
  /** Where a challenge asked for another scope than the repository's own (a registry that renames, or one scope for all). */
  readonly #scopes = new LRUCache<Repository, string>({ max: maxRememberedScopes });

  constructor(deps: AuthorizerDeps) {
    this.#deps = deps;
  }

  /** Whether the registry has told us what it wants, be it nothing. */
  get isInformed(): boolean {
    return this.#isInformed;
  }

  /** @returns the Authorization header to send at once; undefined where none is known to be needed. */
  async header(caller: Caller): Promise<string | undefined> {
    return this.#demand && (await this.#meet(this.#demand, caller, undefined));
  }

  /**
   * Learns from a 401.
   * @param refused the header that was refused, if one was sent.
   * @returns another header that is worth a try, or undefined.
   */
  async answerTo(
    headers: IncomingHttpHeaders,
    caller: Caller,
    refused: string | undefined,
  ): Promise<string | undefined> {
    const demand = this.inform(headers);
    if (!demand) return undefined;
    if (demand.kind === 'bearer' && demand.scope !== undefined) this.#scopes.set(caller.repository, demand.scope);
    const header = await this.#meet(demand, caller, refused);
    return header === refused ? undefined : header;
  }

  /** Learns from the answer to a ping. Its scope is a mere example (ghcr.io's `repository:user/image:pull`). */
  inform(headers: IncomingHttpHeaders): Demand | undefined {
    this.#isInformed = true;
    this.#demand = demandOf(parseChallenges(headers['www-authenticate'])) ?? this.#demand;
    return this.#demand;
  }

  async #meet(demand: Demand, caller: Caller, refused: string | undefined): Promise<string | undefined> {
    if (demand.kind === 'basic') return basicProof(caller, refused);
    const { registry, realmHosts, tokens } = this.#deps;
    const { realm, service } = demand;
    if (!isTrustedRealm(realm, registry, realmHosts)) throw untrusted(realm, registry);
    const scopes = (this.#scopes.get(caller.repository) ?? scopeOf(demand, caller.repository)).split(' ');
    return tokens.header({ realm, service, scopes }, caller.credentials, { signal: caller.signal, refused });
  }
}

/** A scope that names no repository (public.ecr.aws: `aws`, Codeberg: `*`) holds for all of them. */
function scopeOf({ scope }: { readonly scope: string | undefined }, repository: Repository): string {
  return scope === undefined || scope.startsWith('repository:') ? `repository:${repository}:pull` : scope;
}

/** The account's secret, read anew when the registry refused the one it had. */
async function basicProof({ credentials, signal }: Caller, refused: string | undefined): Promise<string | undefined> {
  const secret = await credentials.secret({ signal });
  const header = secret && headerShowing(secret);
  if (!secret || header !== refused) return header;
  credentials.forget(secret);
  const renewed = await credentials.secret({ signal });
  return renewed && headerShowing(renewed);
}

function untrusted(realm: URL, registry: URL): UpstreamError {
  const why = 'which is neither of its domain nor in realmHosts';
  return new UpstreamError(
    'misbehaving',
    `${registry.host} sends us for a token to ${realm.protocol}//${realm.host}, ${why}`,
  );
}
