import type { IncomingHttpHeaders } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../../mirror/ports/clock.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import type { Repository } from '../../../oci/reference.ts';
import { boundedMap } from '../../../mirror/concurrency/remembered.ts';
import { type BearerDemand, type Demand, demandOf, parseChallenges, realmObjection, untrusted } from './challenge.ts';
import { type Credentials, authorizationFor, type Secret } from '../credentials.ts';
import { Refusals, type SentSecret } from './refusals.ts';
import type { Tokens } from './tokens.ts';

export interface AuthorizerDeps {
  readonly registry: URL;
  readonly realmHosts: readonly string[];
  readonly tokens: Tokens;
  readonly clock: Clock;
}

/** The account and the repository of a request. */
export interface Caller extends Waiting {
  readonly credentials: Credentials;
  readonly repository: Repository;
}

const maxRememberedScopes = 10_000;
const maxRememberedSecrets = 100;

/**
 * Authorizes requests to one registry. It remembers the challenge of a 401, so that the next request has its token at once: a new token
 * costs one round trip, a cached one none.
 */
export class Authorizer {
  readonly #deps: AuthorizerDeps;
  #demand: Demand | undefined;
  #knowsChallenge = false;
  readonly #refusals: Refusals;
  /** By the Authorization header with the secret. */
  readonly #sentSecrets = boundedMap<string, Secret>(maxRememberedSecrets);
  /** Scopes of challenges that differ from the repository's own (a registry that renames, or one scope for all). */
  readonly #scopes = boundedMap<Repository, string>(maxRememberedScopes);

  constructor(deps: AuthorizerDeps) {
    this.#deps = deps;
    this.#refusals = new Refusals(deps.clock);
  }

  /** Whether the registry's demand is known; it may be none. */
  get knowsChallenge(): boolean {
    return this.#knowsChallenge;
  }

  /** @returns the Authorization header for the first attempt; undefined if none is known to be needed. */
  async header(caller: Caller): Promise<string | undefined> {
    return this.#demand && (await this.#authorize(this.#demand, caller, undefined));
  }

  /**
   * Handles a 401.
   * @param refused the header that was refused, if one was sent.
   * @returns another header to try, or undefined.
   */
  async answerTo(
    headers: IncomingHttpHeaders,
    caller: Caller,
    refused: string | undefined,
  ): Promise<string | undefined> {
    const demand = this.learnChallenge(headers);
    if (!demand) return undefined;
    if (demand.kind === 'bearer' && demand.scope) this.#scopes.set(caller.repository, demand.scope);
    const header = await this.#authorize(demand, caller, refused);
    return header === refused ? undefined : header;
  }

  /** Records whether the registry accepted the secret in `authorization`, if it holds one. */
  recordVerdict(verdict: 'accepted' | 'refused', caller: Caller, authorization: string | undefined): void {
    const secret = authorization === undefined ? undefined : this.#sentSecrets.get(authorization);
    if (!secret) return;
    if (verdict === 'accepted') this.#refusals.accepted(sentBy(caller, secret));
    else this.#refusals.record(sentBy(caller, secret), refusal(this.#deps.registry));
  }

  /** Records the challenge of a ping. Its scope is only an example (ghcr.io's `repository:user/image:pull`). */
  learnChallenge(headers: IncomingHttpHeaders): Demand | undefined {
    this.#knowsChallenge = true;
    this.#demand = demandOf(parseChallenges(headers['www-authenticate'])) ?? this.#demand;
    return this.#demand;
  }

  async #authorize(demand: Demand, caller: Caller, refused: string | undefined): Promise<string | undefined> {
    if (demand.kind === 'basic') return this.#basicProof(caller, refused);
    try {
      return await this.#token(demand, caller, refused);
    } catch (cause) {
      if (cause instanceof UpstreamError && cause.reason === 'misbehaving') this.#forget(demand);
      throw cause;
    }
  }

  /** Forgets a challenge that gave no token: the next request is sent without one, and gets a new challenge. */
  #forget(demand: Demand): void {
    if (this.#demand !== demand) return;
    this.#demand = undefined;
    this.#knowsChallenge = false;
  }

  /** @throws UpstreamError misbehaving when the realm is not trusted, or gives no token. */
  #token(demand: BearerDemand, caller: Caller, refused: string | undefined): Promise<string> {
    const { registry, realmHosts, tokens } = this.#deps;
    const { realm, service } = demand;
    const objection = realmObjection(realm, registry, realmHosts);
    if (objection) throw untrusted(realm, registry, objection);
    const scopes = (this.#scopes.get(caller.repository) ?? scopeOf(demand, caller.repository)).split(' ');
    const { credentials, repository, signal } = caller;
    return tokens.header({ realm, service, scopes }, credentials, { repository, signal, refused });
  }

  /** The account's secret, read again if the registry refused the cached one. @throws UpstreamError when it has just been refused. */
  async #basicProof(caller: Caller, refused: string | undefined): Promise<string | undefined> {
    const { credentials } = caller;
    const secret = await credentials.secret(caller);
    if (!secret) return undefined;
    const activeRefusal = this.#refusals.of(sentBy(caller, secret));
    if (!activeRefusal && authorizationFor(secret) !== refused) return this.#remember(secret);
    credentials.forget(secret);
    const renewed = await credentials.secret(caller);
    if (activeRefusal && refused === undefined && isDeepStrictEqual(renewed, secret)) throw activeRefusal;
    return renewed && this.#remember(renewed);
  }

  #remember(secret: Secret): string {
    const header = authorizationFor(secret);
    this.#sentSecrets.set(header, secret);
    return header;
  }
}

/** Basic credentials are the same for all repositories. */
function sentBy({ credentials, repository }: Caller, secret: Secret): SentSecret {
  return { credentials, repository, what: repository, secret };
}

/** A scope without a repository (public.ecr.aws: `aws`, Codeberg: `*`) applies to all. Some challenges leave it empty. */
function scopeOf({ scope }: { readonly scope: string | undefined }, repository: Repository): string {
  return scope === undefined || scope.startsWith('repository:') ? `repository:${repository}:pull` : scope;
}

function refusal({ host }: URL): UpstreamError {
  return new UpstreamError('refused', `${host} refused the mirror's account (401)`, { upstreamStatus: 401 });
}
