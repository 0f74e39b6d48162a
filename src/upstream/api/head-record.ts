import type { Clock } from '../../mirror/ports/clock.ts';
import type { UpstreamRequestKind } from '../../mirror/ports/observer.ts';
import type { Answer } from '../transport/answer.ts';
import { RefusedRedirect } from '../transport/network-errors.ts';

/** The kinds of content that HEAD is used for. */
export type HeadKind = 'manifest' | 'blob';

/** How a HEAD was refused though a GET may succeed: the status, or a redirect that is not followed. */
export type HeadRefusal = number | 'redirected';

/** After this time HEAD is tried again: the registry may have been fixed. */
const uselessForMs = 10 * 60_000;
/** The server does not support the method (RFC 9110 §15.5.6, §15.5.12, §15.6.2). */
const unsupportedMethod: ReadonlySet<number> = new Set([405, 411, 501]);
/**
 * Any other refusal may be a transient error of a lagging replica or a firewall. Docker Hub counts GETs of manifests as pulls, so one such
 * refusal must not cause ten minutes of GETs.
 */
const transientErrorsTolerated = 1;

/** Whether to try HEAD at one registry, for one kind of content. */
export class HeadRecord {
  readonly #clock: Clock;
  #uselessUntilMs = -Infinity;
  #transientErrors = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get areUseless(): boolean {
    return this.#clock.monotonicMs() < this.#uselessUntilMs;
  }

  /** @param outcome `answered`, or how a HEAD was refused after which GET succeeded. */
  record(outcome: 'answered' | HeadRefusal): void {
    this.#transientErrors = outcome === 'answered' ? 0 : this.#transientErrors + 1;
    if (outcome === 'answered') return;
    const isUnsupported = outcome !== 'redirected' && unsupportedMethod.has(outcome);
    const isUseless = isUnsupported || this.#transientErrors > transientErrorsTolerated;
    if (isUseless) this.#uselessUntilMs = this.#clock.monotonicMs() + uselessForMs;
  }
}

/** A refused account, a rate limit or an outage: a GET would fail in the same way. */
const sameForGet: ReadonlySet<number> = new Set([401, 429, 502, 503, 504]);

/**
 * Sends a HEAD with `ask`. Registries without HEAD answer 405 or 501 (RFC 9110 §15.5.6, §15.6.2); others answer 400, 404, 406, 411 or 500, or redirect
 * the HEAD to an object store whose URL is signed for GET only, which answers 401 or 403. ECR public answers 401 for blobs.
 * @returns the answer, with any status; or the refusal, if a GET may succeed.
 * @throws UpstreamError when there is no answer.
 */
export async function askByHead<Found extends Answer>(
  asked: AskedByHead,
  ask: () => Promise<Found>,
): Promise<{ readonly answer: Found; readonly refusal?: undefined } | { readonly refusal: HeadRefusal }> {
  try {
    const answer = await ask();
    return answer.status !== 200 && mayGetDiffer(answer, asked) ? { refusal: answer.status } : { answer };
  } catch (cause) {
    if (cause instanceof RefusedRedirect) return { refusal: 'redirected' };
    throw cause;
  }
}

interface AskedByHead {
  readonly url: URL;
  readonly kind: UpstreamRequestKind;
}

function mayGetDiffer(answer: Answer, asked: AskedByHead): boolean {
  const isNoRefusalOfAccount = asked.kind === 'blob' || answer.url.origin !== asked.url.origin;
  return !sameForGet.has(answer.status) || (answer.status === 401 && isNoRefusalOfAccount);
}
