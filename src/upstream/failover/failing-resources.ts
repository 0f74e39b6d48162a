import type { Clock } from '../../mirror/ports/clock.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { boundedMap } from '../../mirror/concurrency/remembered.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Repository } from '../../oci/reference.ts';
import { isLostConnection } from '../transport/network-errors.ts';

/** A request to an endpoint, as its guards see it. */
export interface Question extends Waiting {
  readonly repository: Repository;
  /** The resource and the verb: unique within the repository. */
  readonly resource: string;
  /** Whether it resumes a download. */
  readonly isResumed?: boolean;
}

/** What is remembered of one resource. */
export interface Failing {
  readonly failure: UpstreamError;
  /** Failures in a row, each after all retries. */
  readonly times: number;
  readonly untilMs: number;
}

/** A single failure may be transient. */
const timesToRemember = 2;
const firstMs = 5_000;
const longestMs = 60_000;
const maxRemembered = 10_000;

/** The last failure of a resource, thrown without a request. It does not count as a failure of the endpoint. */
export class RememberedFailure extends UpstreamError {
  constructor({ reason, message, upstreamStatus, ...more }: UpstreamError, leftMs: number) {
    super(reason, message, { ...more, upstreamStatus, retryAfterSeconds: Math.ceil(leftMs / 1_000) });
  }
}

/**
 * Remembers the resources that an endpoint failed to answer for twice in a row (5xx, no answer in time, a lost connection): for 5 s, then
 * twice as long, up to a minute. So a manifest that always fails does not cost every client a full set of retries. Bounded in number.
 * A resumed download is neither refused nor remembered.
 */
export class FailingResources {
  readonly #clock: Clock;
  readonly #failing = boundedMap<string, Failing>(maxRemembered);

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock;
  }

  /**
   * @returns what is known of the resource, for `failed`.
   * @throws RememberedFailure while the resource is not to be asked for.
   */
  check(question: Question): Failing | undefined {
    if (question.isResumed) return undefined;
    const known = this.#failing.get(resourceKey(question));
    const leftMs = (known?.untilMs ?? 0) - this.#clock.monotonicMs();
    if (known && leftMs > 0) throw new RememberedFailure(known.failure, leftMs);
    return known;
  }

  succeeded(question: Question): void {
    if (!question.isResumed) this.#failing.delete(resourceKey(question));
  }

  /** @param known what `check` returned before this request. */
  failed(question: Question, { cause, known }: { readonly cause: unknown; readonly known: Failing | undefined }): void {
    if (question.isResumed) return;
    const failure = failureOfResource(cause, question);
    if (failure) this.#failing.set(resourceKey(question), failingAgain(known, failure, this.#clock.monotonicMs()));
    else if (!question.signal.aborted) this.#failing.delete(resourceKey(question));
  }
}

function resourceKey({ repository, resource }: Question): string {
  return `${repository} ${resource}`;
}

function failingAgain(known: Failing | undefined, failure: UpstreamError, nowMs: number): Failing {
  // A failure long ago does not count.
  const times = known && nowMs - known.untilMs < longestMs ? known.times + 1 : 1;
  const forMs = times < timesToRemember ? 0 : Math.min(firstMs * 2 ** (times - timesToRemember), longestMs);
  return { failure, times, untilMs: nowMs + forMs };
}

/** @returns undefined for an answer, and for a failure of the endpoint, the account or this mirror. Pure. */
function failureOfResource(cause: unknown, { signal }: Question): UpstreamError | undefined {
  if (signal.aborted || !(cause instanceof UpstreamError)) return undefined;
  const isOfResource = ['unavailable', 'timeout', 'misbehaving'].includes(cause.reason) || isLostConnection(cause);
  return isOfResource ? cause : undefined;
}
