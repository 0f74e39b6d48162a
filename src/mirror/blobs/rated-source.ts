import type { BodyReader, UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import type { ByteSource, BorrowedBuffer } from '../ports/byte-source.ts';
import type { Clock } from '../ports/clock.ts';

export interface RatedBodiesDeps {
  readonly waiters: Pick<UpstreamWaiters, 'admitBody' | 'body'>;
  readonly clock: Clock;
  /** A body that comes more slowly counts to its upstream's share of the requests: `download.minRate`. */
  readonly minBytesPerSecond: number;
}

export interface RatedSourceOptions {
  readonly source: ByteSource;
  readonly body: BodyReader;
  readonly clock: Clock;
  readonly minBytesPerSecond: number;
}

/** How much longer a reader may wait for its bytes than they take at the least rate, before the body is slow. */
const slowAfterMs = 3_000;

/**
 * A body on its way from an upstream, which tells the upstream's share of requests when it is slow. Only the time counts in which the
 * reader waits for bytes: a client that takes its time makes no body slow. A body that is one too many is cut. One that has caught up with the
 * least rate, as after a pause of its upstream, is not slow any more.
 */
export class RatedSource implements ByteSource {
  readonly #options: RatedSourceOptions;
  /** How long the reader has waited beyond what its bytes take at the least rate. */
  #lateMs = 0;
  #isSlow = false;
  #refusal: { readonly cause: unknown } | undefined;
  #closing: PromiseLike<void> | undefined;

  constructor(options: RatedSourceOptions) {
    this.#options = options;
  }

  read(into: Uint8Array, position: number): Promise<number> {
    const { source } = this.#options;
    return this.#timed(
      () => source.read(into, position),
      (bytes) => bytes,
    );
  }

  borrow(position: number, maxBytes: number): Promise<BorrowedBuffer | undefined> {
    const { source } = this.#options;
    return this.#timed(
      async () => source.borrow?.(position, maxBytes),
      (borrowed) => borrowed?.bytes ?? 0,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.body.end();
    await this.#close();
  }

  async #timed<Value>(work: () => Promise<Value>, bytesOf: (value: Value) => number): Promise<Value> {
    const { clock, minBytesPerSecond } = this.#options;
    const startedAtMs = clock.monotonicMs();
    const timer = this.#isSlow ? undefined : setTimeout(() => this.#becomesSlow(), slowAfterMs - this.#lateMs);
    try {
      const value = await this.#unlessRefused(work);
      const inTimeMs = (bytesOf(value) / Math.max(1, minBytesPerSecond)) * 1_000;
      this.#lateMs = Math.max(0, this.#lateMs + clock.monotonicMs() - startedAtMs - inTimeMs);
      if (this.#isSlow && this.#lateMs === 0) this.#catchesUp();
      return value;
    } finally {
      clearTimeout(timer);
    }
  }

  async #unlessRefused<Value>(work: () => Promise<Value>): Promise<Value> {
    if (this.#refusal) throw this.#refusal.cause;
    try {
      return await work();
    } catch (cause) {
      throw this.#refusedFor(cause);
    }
  }

  /** What ended the wait: the refusal, or the source's own failure. */
  #refusedFor(cause: unknown): unknown {
    return this.#refusal ? this.#refusal.cause : cause;
  }

  #becomesSlow(): void {
    this.#isSlow = true;
    try {
      this.#options.body.isSlow();
    } catch (cause) {
      this.#refusal = { cause };
      // Ends the wait. Whoever reads disposes this source too, and hears of a failure then.
      void this.#close().then(undefined, () => {});
    }
  }

  #catchesUp(): void {
    this.#isSlow = false;
    this.#options.body.caughtUp();
  }

  #close(): PromiseLike<void> {
    return (this.#closing ??= this.#options.source[Symbol.asyncDispose]());
  }
}

/**
 * Opens what is on its way from an upstream: when it comes slowly, its reader counts to the upstream's share of the requests.
 * @throws TooManyWaiters when the upstream's slow bodies are too many; what `open` throws.
 */
export async function ratedBody<Served extends { readonly source: ByteSource } | undefined>(
  label: string,
  open: () => Promise<Served>,
  { waiters, clock, minBytesPerSecond }: RatedBodiesDeps,
): Promise<Served> {
  waiters.admitBody(label);
  const served = await open();
  if (!served) return served;
  const { source } = served;
  try {
    const body = waiters.body(label);
    return { ...served, source: new RatedSource({ source, body, clock, minBytesPerSecond }) };
  } catch (cause) {
    await source[Symbol.asyncDispose]();
    throw cause;
  }
}
