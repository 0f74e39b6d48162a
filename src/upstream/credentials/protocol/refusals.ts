import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../../mirror/ports/clock.ts';
import type { Repository } from '../../../oci/reference.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import { boundedMap } from '../../../mirror/concurrency/remembered.ts';
import type { Credentials, Secret } from '../credentials.ts';

/** A secret that was sent, or is about to be. */
export interface Shown {
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
 *     401 where it was accepted for the same thing before  the secret is wrong from now on
 *     401 or 403 where it was accepted for other things    the account may not access this thing (GitLab, Nexus)
 */
export class Refusals {
  readonly #clock: Clock;
  /** By account, or by account and thing. */
  readonly #refusals = boundedMap<string, Refusal>(maxRemembered);
  readonly #good = boundedMap<string, Secret>(maxRemembered);
  readonly #opened = boundedMap<string, true>(maxRemembered);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The refusal because of which the secret may not be sent now. */
  of(shown: Shown): UpstreamError | undefined {
    return this.#standing(ownerOf(shown), shown) ?? this.#standing(thingOf(shown), shown);
  }

  /** @param failure has the status of the refusal. */
  note(shown: Shown, failure: UpstreamError): void {
    const isGood = isDeepStrictEqual(this.#good.get(ownerOf(shown)), shown.secret);
    const isWrong = failure.upstreamStatus === 401 && (!isGood || this.#opened.has(thingOf(shown)));
    if (isWrong) this.#good.delete(ownerOf(shown));
    const untilMs = this.#clock.monotonicMs() + refusedForMs;
    this.#refusals.set(isWrong ? ownerOf(shown) : thingOf(shown), { secret: shown.secret, failure, untilMs });
  }

  accepted(shown: Shown): void {
    this.#good.set(ownerOf(shown), shown.secret);
    this.#opened.set(thingOf(shown), true);
  }

  #standing(key: string, { secret }: Shown): UpstreamError | undefined {
    const refusal = this.#refusals.get(key);
    const leftMs = (refusal?.untilMs ?? 0) - this.#clock.monotonicMs();
    if (!refusal || leftMs <= 0 || !isDeepStrictEqual(refusal.secret, secret)) return undefined;
    return again(refusal.failure, Math.ceil(leftMs / 1_000));
  }
}

/** The owner of a secret. */
export function ownerOf({ credentials, repository }: Pick<Shown, 'credentials' | 'repository'>): string {
  return JSON.stringify([credentials.account, credentials.isPerRepository ? repository : undefined]);
}

function thingOf(shown: Shown): string {
  return `${ownerOf(shown)} ${shown.what}`;
}

function again(failure: UpstreamError, seconds: number): UpstreamError {
  const message = `${failure.message}; the same secret is not sent again for ${seconds} s`;
  return new UpstreamError('refused', message, { cause: failure, upstreamStatus: failure.upstreamStatus });
}

/** The pause after a rate limit without Retry-After, and the longest pause. */
const untoldMs = 10_000;
const longestMs = 3_600_000;

/** Servers and accounts that are rate limited, and until when. */
export class BackOff {
  readonly #clock: Clock;
  readonly #untilMs = boundedMap<string, number>(10_000);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param forSeconds from Retry-After. */
  begin(whom: string, forSeconds: number | undefined): void {
    const forMs = forSeconds === undefined ? untoldMs : Math.min(forSeconds * 1_000, longestMs);
    this.#untilMs.set(whom, this.#clock.monotonicMs() + forMs);
  }

  /** How much of the pause is left; 0 when requests may be sent. */
  leftMs(whom: string): number {
    return Math.max(0, (this.#untilMs.get(whom) ?? 0) - this.#clock.monotonicMs());
  }
}
