import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Secret } from './credentials.ts';

/** A secret that ends. */
export interface ExpiringSecret {
  readonly secret: Secret | undefined;
  /** From then on a newer one is looked for, while this one is still used. Both by the wall clock, as the sources tell it. */
  readonly renewAtMs: number;
  readonly endsAtMs: number;
}

export interface RenewedSecretDeps {
  /** Where secrets come from. */
  readonly fetch: (options: Waiting) => Promise<ExpiringSecret>;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'trouble'>;
}

/** A source that fails, or whose secrets are refused, is asked no more often than this. */
const pauseMs = 10_000;

/**
 * Keeps a secret that must be fetched anew from time to time. All who need it share one fetch, which goes on when one of them leaves.
 * A secret that is due is renewed behind the back of those who use it; when that fails, it stays in use until it ends, as
 * amazon-ecr-credential-helper does.
 */
export class RenewedSecret {
  readonly #deps: RenewedSecretDeps;
  #known: ExpiringSecret | undefined;
  #fetching: Promise<ExpiringSecret> | undefined;
  /** Why the source gave nothing, where it said no: asking again at every pull may lock an account. No answer is worth another try. */
  #refusal: UpstreamError | undefined;
  #fetchedAtMs = Number.NEGATIVE_INFINITY;

  constructor(deps: RenewedSecretDeps) {
    this.#deps = deps;
  }

  async current({ signal }: Waiting): Promise<Secret | undefined> {
    const known = this.#known;
    const now = this.#deps.clock.monotonicMs();
    if (!known || now >= known.endsAtMs) {
      if (this.#refusal && this.#isPausing()) throw this.#refusal;
      return (await abortable(this.#fetch(), signal)).secret;
    }
    if (now >= known.renewAtMs && !this.#isPausing()) this.#renew();
    return known.secret;
  }

  /** The registry refused it. A secret that was only just fetched is kept: another one would be no better. */
  forget(secret: Secret): void {
    if (this.#known?.secret === secret && !this.#isPausing()) this.#known = undefined;
  }

  #renew(): void {
    this.#fetch().catch((cause: unknown) => this.#deps.observer.trouble({ part: 'credentials', cause }));
  }

  #fetch(): Promise<ExpiringSecret> {
    this.#fetchedAtMs = this.#deps.clock.monotonicMs();
    this.#fetching ??= this.#deps
      .fetch({ signal: AbortSignal.timeout(this.#deps.timeoutMs) })
      .then((lent) => {
        this.#known = onMonotonicClock(lent, this.#deps.clock);
        this.#refusal = undefined;
        return lent;
      })
      .catch((cause: unknown) => {
        this.#refusal = cause instanceof UpstreamError && cause.trouble === 'refused' ? cause : undefined;
        throw cause;
      })
      .finally(() => {
        this.#fetching = undefined;
      });
    return this.#fetching;
  }

  #isPausing(): boolean {
    return this.#deps.clock.monotonicMs() - this.#fetchedAtMs < pauseMs;
  }
}

/** A wall clock that is set later must neither keep a secret beyond its end nor drop it before. */
function onMonotonicClock({ secret, renewAtMs, endsAtMs }: ExpiringSecret, clock: Clock): ExpiringSecret {
  const offsetMs = clock.monotonicMs() - clock.now();
  return { secret, renewAtMs: renewAtMs + offsetMs, endsAtMs: endsAtMs + offsetMs };
}
