import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../../mirror/ports/clock.ts';
import type { Repository } from '../../../oci/reference.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import { boundedMap } from '../../../mirror/concurrency/remembered.ts';
import type { Credentials, Secret } from '../credentials.ts';

/** A secret that was sent, or is about to be. */
export interface SentSecret {
  readonly credentials: Credentials;
  readonly repository: Repository | undefined;
  /** What it is sent for, such as a scope. */
  readonly what: string;
  readonly secret: Secret;
}

interface Refusal {
  readonly secret: Secret;
  readonly failure: UpstreamError;
  readonly untilMs: number;
}

/** How long a refused secret is not sent again. */
const refusedForMs = 60_000;
const maxRemembered = 10_000;

/**
 * Refused secrets. A wrong password is sent once a minute at most, however many pulls need it: registries lock accounts that fail too often.
 * Another secret is sent at once.
 *
 *     401 for a secret that was never accepted             the secret is wrong
 *     401 where it was accepted for the same scope before  the secret is wrong from now on
 *     401 or 403 where it was accepted for other scopes    the account may not access this scope (GitLab, Nexus)
 */
export class Refusals {
  readonly #clock: Clock;
  /** By account, or by account and scope. */
  readonly #refusals = boundedMap<string, Refusal>(maxRemembered);
  readonly #acceptedSecrets = boundedMap<string, Secret>(maxRemembered);
  readonly #acceptedScopes = boundedMap<string, true>(maxRemembered);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The refusal because of which the secret may not be sent now. */
  of(sent: SentSecret): UpstreamError | undefined {
    return this.#activeRefusal(ownerOf(sent), sent) ?? this.#activeRefusal(scopeKey(sent), sent);
  }

  /** @param failure has the status of the refusal. */
  record(sent: SentSecret, failure: UpstreamError): void {
    const isGood = isDeepStrictEqual(this.#acceptedSecrets.get(ownerOf(sent)), sent.secret);
    const isWrong = failure.upstreamStatus === 401 && (!isGood || this.#acceptedScopes.has(scopeKey(sent)));
    if (isWrong) this.#acceptedSecrets.delete(ownerOf(sent));
    const untilMs = this.#clock.monotonicMs() + refusedForMs;
    this.#refusals.set(isWrong ? ownerOf(sent) : scopeKey(sent), { secret: sent.secret, failure, untilMs });
  }

  accepted(sent: SentSecret): void {
    this.#acceptedSecrets.set(ownerOf(sent), sent.secret);
    this.#acceptedScopes.set(scopeKey(sent), true);
  }

  #activeRefusal(key: string, { secret }: SentSecret): UpstreamError | undefined {
    const refusal = this.#refusals.get(key);
    const leftMs = (refusal?.untilMs ?? 0) - this.#clock.monotonicMs();
    if (!refusal || leftMs <= 0 || !isDeepStrictEqual(refusal.secret, secret)) return undefined;
    return repeated(refusal.failure, Math.ceil(leftMs / 1_000));
  }
}

/** The owner of a secret. */
export function ownerOf({ credentials, repository }: Pick<SentSecret, 'credentials' | 'repository'>): string {
  return JSON.stringify([credentials.account, credentials.isPerRepository ? repository : undefined]);
}

function scopeKey(sent: SentSecret): string {
  return `${ownerOf(sent)} ${sent.what}`;
}

function repeated(failure: UpstreamError, seconds: number): UpstreamError {
  const message = `${failure.message}; the same secret is not sent again for ${seconds} s`;
  return new UpstreamError('refused', message, { cause: failure, upstreamStatus: failure.upstreamStatus });
}
