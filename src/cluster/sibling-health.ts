import type { Clock } from '../mirror/ports/clock.ts';
import type { SiblingContentKind } from '../mirror/ports/observer.ts';
import { UpstreamError } from '../oci/errors.ts';
import type { AnswerBody } from '../upstream/transport/answer.ts';

/** After this time a sibling that refused the secret is asked again. */
const refusedForMs = 10_000;
/** After this time a sibling that no connection could be made to in time is asked again: else each download would wait for that again. */
const unreachableForMs = 10_000;

export interface WatchTimes {
  /** How often a body is looked at. One that brought nothing since the last time is silent. */
  readonly everyMs: number;
  /** After so many ms of silence its end comes, even if the sibling is there. */
  readonly forMs: number;
}

export interface SiblingHealthDeps {
  readonly host: string;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** @throws UpstreamError */
  readonly ping: () => Promise<unknown>;
}

/** Whether a sibling answers, so that nothing waits for one that does not. */
export class SiblingHealth {
  readonly #deps: SiblingHealthDeps;
  /** By the monotonic clock. */
  #refusedAtMs: number | undefined;
  /** By the monotonic clock. */
  #unreachableAtMs: number | undefined;
  /** Whether it did not answer in time, nor a ping since then. */
  #isSilent = false;
  #pinging: Promise<boolean> | undefined;

  constructor(deps: SiblingHealthDeps) {
    this.#deps = deps;
  }

  /** Whether it refused the secret when it was last asked. */
  get isRefused(): boolean {
    return this.#refusedAtMs !== undefined;
  }

  /** To be called when the secret has changed. */
  forgetRefusal(): void {
    this.#refusedAtMs = undefined;
  }

  /** To be called before each request. @throws UpstreamError if it would be in vain */
  throwIfNotAsked(kind: SiblingContentKind): void {
    const { host } = this.#deps;
    if (this.#isWithin(this.#refusedAtMs, refusedForMs)) throw refusal(host);
    if (this.#isWithin(this.#unreachableAtMs, unreachableForMs))
      throw new UpstreamError('connect', `${host} could not be connected to a moment ago`);
    if (kind === 'ping' || !this.#isSilent) return;
    void this.answersPing(); // One that failed is repeated at the next request.
    throw new UpstreamError('connect', `${host} did not answer a moment ago`);
  }

  answered(status: number): void {
    this.#unreachableAtMs = undefined;
    this.#refusedAtMs = status === 401 ? this.#deps.clock.monotonicMs() : undefined;
  }

  gaveNoAnswer(cause: unknown): void {
    if (isConnectTimeout(cause)) this.#unreachableAtMs = this.#deps.clock.monotonicMs();
  }

  /**
   * To be called when a request has failed. A sibling that was silent is not waited for until it answers a ping: its upstream may have been slow,
   * or it is frozen or cut off.
   */
  failed(cause: unknown): void {
    if (!isSilence(cause)) return;
    this.#isSilent = true;
    void this.answersPing();
  }

  /**
   * Gives a body more time while it is silent and the sibling answers pings: the sibling waits for its upstream. One that does not answer is
   * given up after the body's idle timeout, and nothing else waits for it.
   */
  watch(body: AnswerBody, { everyMs, forMs }: WatchTimes): void {
    let receivedBytes = 0;
    let silentMs = 0;
    const look = async (): Promise<void> => {
      const isSilent = body.isWaiting && body.receivedBytes === receivedBytes;
      receivedBytes = body.receivedBytes;
      silentMs = isSilent ? silentMs + everyMs : 0;
      if (!isSilent || silentMs >= forMs || !(await this.answersPing())) return;
      if (body.receivedBytes === receivedBytes) body.waitLonger();
    };
    const timer = setInterval(() => void look(), everyMs).unref();
    body.once('close', () => clearInterval(timer));
    body.once('error', (cause) => {
      if (this.#pinging && isSilence(cause)) this.#isSilent = true;
    });
  }

  /** Pings it. Concurrent calls ping once. Never rejects. */
  answersPing(): Promise<boolean> {
    this.#pinging ??= this.#ping().finally(() => {
      this.#pinging = undefined;
    });
    return this.#pinging;
  }

  async #ping(): Promise<boolean> {
    try {
      await this.#deps.ping();
    } catch (cause) {
      const isThere = cause instanceof UpstreamError && cause.upstreamStatus !== undefined;
      this.#isSilent ||= isSilence(cause);
      return isThere;
    }
    this.#isSilent = false;
    return true;
  }

  #isWithin(sinceMs: number | undefined, forMs: number): boolean {
    return sinceMs !== undefined && this.#deps.clock.monotonicMs() - sinceMs < forMs;
  }
}

export function refusal(host: string): UpstreamError {
  return new UpstreamError('refused', `${host} refused the secret of this replica (cluster.secret)`, {
    upstreamStatus: 401,
  });
}

const connectTimeouts: ReadonlySet<unknown> = new Set(['UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT', 'EHOSTUNREACH']);

/** Whether it was connected to, and did not answer in time. */
function isSilence(failure: unknown): boolean {
  return failure instanceof UpstreamError && failure.reason === 'timeout' && !isConnectTimeout(failure);
}

function isConnectTimeout(failure: unknown): boolean {
  const cause = failure instanceof UpstreamError ? failure.cause : undefined;
  return cause instanceof Error && 'code' in cause && connectTimeouts.has(cause.code);
}
