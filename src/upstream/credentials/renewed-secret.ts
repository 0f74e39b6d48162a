import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Secret } from './credentials.ts';

/** A secret that expires. */
export interface ExpiringSecret {
  readonly secret: Secret | undefined;
  /** When to fetch a new one, while this one is still used. Both times by the wall clock, as reported by the source. */
  readonly renewAtMs: number;
  readonly endsAtMs: number;
}

export interface RenewedSecretDeps {
  /** Gets a secret from its source. */
  readonly fetch: (options: Waiting) => Promise<ExpiringSecret>;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'internalError' | 'secretFetched'>;
  /** The account it is for: the label of its upstream, and its own. */
  readonly registry: { readonly label: string };
  readonly account: string;
}

/** The shortest interval between requests to a source that fails, or whose secrets are refused. */
const pauseMs = 10_000;

/**
 * Caches a secret that expires. All callers share one fetch, which continues when one of them leaves. A secret is renewed in the background;
 * if that fails, it is used until it expires, as in amazon-ecr-credential-helper.
 */
export class RenewedSecret {
  readonly #deps: RenewedSecretDeps;
  #known: ExpiringSecret | undefined;
  #fetching: Promise<ExpiringSecret> | undefined;
  /** The source's refusal, if it refused: a retry with every pull could lock the account. Other failures are retried. */
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

  /** The registry refused the secret. One that was just fetched is kept, because another would be no better. */
  forget(secret: Secret): void {
    if (this.#known?.secret === secret && !this.#isPausing()) this.#known = undefined;
  }

  #renew(): void {
    this.#fetch().catch((cause: unknown) => this.#deps.observer.internalError({ part: 'credentials', cause }));
  }

  #fetch(): Promise<ExpiringSecret> {
    this.#fetchedAtMs = this.#deps.clock.monotonicMs();
    this.#fetching ??= this.#deps
      .fetch({ signal: AbortSignal.timeout(this.#deps.timeoutMs) })
      .then((renewed) => {
        this.#known = onMonotonicClock(renewed, this.#deps.clock);
        this.#refusal = undefined;
        this.#reportEnd(renewed);
        return renewed;
      })
      .catch((cause: unknown) => {
        this.#refusal = cause instanceof UpstreamError && cause.reason === 'refused' ? cause : undefined;
        throw cause;
      })
      .finally(() => {
        this.#fetching = undefined;
      });
    return this.#fetching;
  }

  #reportEnd({ secret, endsAtMs }: ExpiringSecret): void {
    const { registry, account, observer } = this.#deps;
    if (secret) observer.secretFetched({ upstream: registry.label, account, endsAtMs });
  }

  #isPausing(): boolean {
    return this.#deps.clock.monotonicMs() - this.#fetchedAtMs < pauseMs;
  }
}

/** Converts to the monotonic clock, so that a change of the wall clock neither extends nor shortens the life of a secret. */
function onMonotonicClock({ secret, renewAtMs, endsAtMs }: ExpiringSecret, clock: Clock): ExpiringSecret {
  const offsetMs = clock.monotonicMs() - clock.now();
  return { secret, renewAtMs: renewAtMs + offsetMs, endsAtMs: endsAtMs + offsetMs };
}
