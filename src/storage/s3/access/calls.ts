import { setTimeout as sleep } from 'node:timers/promises';
import type { S3Client } from '@aws-sdk/client-s3';
import { abortable } from '../../../mirror/concurrency/abortable-wait.ts';
import type { BucketObserver, BucketUse } from '../../../mirror/ports/observer.ts';
import type { Clock } from '../../../mirror/ports/clock.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import { BucketBreaker } from './breaker.ts';
import { type BucketSettings, loadS3, type S3 } from './client.ts';
import { bucketError, type BucketOutcome, isFailureOfBucket, outcomeOf } from './failures.ts';

export interface BucketCallsDeps {
  readonly settings: BucketSettings;
  readonly clock: Clock;
  readonly observer: Pick<BucketObserver, 'bucketAnswered' | 'bucketChanged'>;
  /** By default {@link loadS3}. */
  readonly load?: (settings: BucketSettings) => Promise<S3>;
  /** How long a call may take until its headers are there, its retries and the lookup of credentials included. */
  readonly readWithinMs?: number;
  readonly writeWithinMs?: number;
}

export interface CallOptions extends Waiting {
  /** As the S3 API names it: for metrics. */
  readonly operation: string;
  readonly kind: BucketUse;
  /** For a write that takes longer. */
  readonly withinMs?: number;
}

/** What one call is made with. */
export interface CallTools {
  readonly sdk: S3['sdk'];
  readonly client: S3Client;
  /** Aborts when the call must end. It no longer does once the answer is there: a body is destroyed instead. */
  readonly abortSignal: AbortSignal;
}

/** A miss waits no longer than this before the next source is asked. */
const readWithinMs = 1_500;
const writeWithinMs = 30_000;

/** Calls to one bucket: with timeouts, a breaker, and one kind of error. The SDK is loaded with the first call. */
export class BucketCalls {
  readonly #deps: BucketCallsDeps;
  /** Apart, since reads may work where writes are refused or throttled. */
  readonly #breakers: Readonly<Record<BucketUse, BucketBreaker>>;
  #loading: Promise<S3> | undefined;

  constructor(deps: BucketCallsDeps) {
    this.#deps = deps;
    const { clock, observer } = deps;
    const breaker = (kind: BucketUse) =>
      new BucketBreaker({ clock, onChange: (state, cause) => observer.bucketChanged({ kind, state, cause }) });
    this.#breakers = { read: breaker('read'), write: breaker('write') };
  }

  /** `closed`, or why the bucket is not asked for a while. */
  state(kind: BucketUse): string {
    return this.#breakers[kind].state;
  }

  /** How long until the bucket is asked again; 0: it is. */
  waitMs(kind: BucketUse): number {
    return this.#breakers[kind].waitMs;
  }

  /** To be called when a body that the bucket sends stops arriving. */
  bodyFailed(reason: string): void {
    this.#breakers.read.failed(reason);
  }

  /**
   * @returns undefined when the object is not there.
   * @throws UpstreamError when there is no usable answer; ConditionNotMet; the signal's reason.
   */
  async run<Answer>(options: CallOptions, ask: (tools: CallTools) => Promise<Answer>): Promise<Answer | undefined> {
    const { operation, signal } = options;
    signal.throwIfAborted();
    const breaker = this.#breakers[options.kind];
    if (!breaker.admits()) throw notAsked(breaker.state);
    const { clock, observer } = this.#deps;
    const startedAtMs = clock.monotonicMs();
    const answered = (outcome: BucketOutcome | 'ok') =>
      observer.bucketAnswered({ operation, outcome, durationMs: clock.monotonicMs() - startedAtMs });
    using limit = new Limit(options.withinMs ?? this.#withinMs(options.kind), signal);
    try {
      const answer = await abortable(this.#ask(options, limit.signal, ask), limit.signal);
      breaker.succeeded();
      answered('ok');
      return answer;
    } catch (cause) {
      if (signal.aborted || cause instanceof OwnFailure) breaker.undecided();
      signal.throwIfAborted();
      if (cause instanceof OwnFailure) throw cause.cause;
      const outcome = limit.isOver ? 'timeout' : outcomeOf(cause);
      answered(outcome);
      if (isFailureOfBucket(outcome)) breaker.failed(outcome, bucketError(operation, outcome, cause));
      else breaker.succeeded();
      return answerOf(operation, outcome, cause);
    }
  }

  /** Closes all connections. */
  async close(): Promise<void> {
    const s3 = await this.#loading?.catch(() => undefined);
    s3?.reading.destroy();
    s3?.sweeping.destroy();
    s3?.writing.destroy();
  }

  async #ask<Answer>(
    { kind, operation }: CallOptions,
    abortSignal: AbortSignal,
    ask: (tools: CallTools) => Promise<Answer>,
  ): Promise<Answer> {
    const { settings, load = loadS3 } = this.#deps;
    const { sdk, reading, sweeping, writing } = await (this.#loading ??= load(settings));
    abortSignal.throwIfAborted();
    const unhurried = /^(?:Get|Head|List)/.test(operation) ? sweeping : writing;
    const client = kind === 'read' ? reading : unhurried;
    const attempt = () => ask({ sdk, client, abortSignal });
    return kind === 'read' ? retrying(attempt, abortSignal) : attempt();
  }

  #withinMs(kind: BucketUse): number {
    const deps = { readWithinMs, writeWithinMs, ...this.#deps };
    return kind === 'read' ? deps.readWithinMs : deps.writeWithinMs;
  }
}

/** Undefined for an object that is not there. @throws what any other outcome means. */
function answerOf(operation: string, outcome: BucketOutcome, cause: unknown): undefined {
  if (outcome === 'absent') return undefined;
  if (outcome === 'precondition') throw new ConditionNotMet(operation);
  const error = bucketError(operation, outcome, cause);
  throw outcome === 'rejected' ? new CallRejected(operation, { cause: error }) : error;
}

const maxReadRetries = 2;
const firstPauseMs = 100;
const isTransient: ReadonlySet<BucketOutcome> = new Set(['overloaded', 'unavailable', 'connect']);

/** Repeats a read after a transient failure, with shorter pauses than the SDK's: a client waits. */
async function retrying<Answer>(attempt: () => Promise<Answer>, signal: AbortSignal): Promise<Answer> {
  for (let retries = 0; ; retries += 1) {
    try {
      return await attempt();
    } catch (cause) {
      if (retries === maxReadRetries || signal.aborted || !isTransient.has(outcomeOf(cause))) throw cause;
      await sleep(firstPauseMs * 2 ** retries * (0.5 + Math.random()), undefined, { signal });
    }
  }
}

/** What a call was made of failed here, such as a local file: the cause is thrown, and says nothing of the bucket. */
export class OwnFailure extends Error {
  override readonly name = 'OwnFailure';

  constructor(cause: unknown) {
    super('the call failed here', { cause });
  }
}

/** The condition of a request, such as `If-None-Match`, was not met. */
export class ConditionNotMet extends Error {
  override readonly name = 'ConditionNotMet';

  constructor(operation: string) {
    super(`the condition of ${operation} was not met`);
  }
}

/** The bucket refused this one request: a repetition would be refused as well. */
export class CallRejected extends UpstreamError {
  constructor(operation: string, { cause }: { readonly cause: UpstreamError }) {
    super('misbehaving', `the shared bucket rejected ${operation}`, { cause, upstreamStatus: cause.upstreamStatus });
  }
}

function notAsked(state: string): UpstreamError {
  return new UpstreamError('unavailable', `the shared bucket is not asked for a while: ${state}`);
}

/** A signal that aborts with another one, or when the time is over; not once it is disposed. */
class Limit implements Disposable {
  readonly #own = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #stopWatching: () => void;
  isOver = false;

  constructor(withinMs: number, signal: AbortSignal) {
    this.#timer = setTimeout(() => {
      this.isOver = true;
      this.#own.abort(new Error(`no answer within ${withinMs} ms`));
    }, withinMs);
    const abort = () => this.#own.abort(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    this.#stopWatching = () => signal.removeEventListener('abort', abort);
  }

  get signal(): AbortSignal {
    return this.#own.signal;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#stopWatching();
  }
}
