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
  /** How many bytes the upstream has sent, where the reader waits for later ones. Absent: it waits for the next ones. */
  readonly receivedBytes?: (() => number) | undefined;
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
  #waitingSinceMs = 0;
  #receivedBytes = 0;
  #timer: NodeJS.Timeout | undefined;
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
    const { clock } = this.#options;
    this.#waitingSinceMs = clock.monotonicMs();
    this.#newBytes();
    if (!this.#isSlow) this.#watch();
    try {
      const value = await this.#unlessRefused(work);
      const waitedMs = Math.max(0, clock.monotonicMs() - this.#waitingSinceMs);
      this.#lateMs = Math.max(0, this.#lateMs + waitedMs - this.#inTimeMs(Math.max(bytesOf(value), this.#newBytes())));
      if (this.#isSlow && this.#lateMs === 0) this.#catchesUp();
      return value;
    } finally {
      clearTimeout(this.#timer);
    }
  }

  #watch(): void {
    this.#timer = setTimeout(() => this.#looksSlow(), slowAfterMs - this.#lateMs);
  }

  /** A reader may wait for a later part of a body that comes in time. */
  #looksSlow(): void {
    const inTimeMs = this.#inTimeMs(this.#newBytes());
    this.#waitingSinceMs += slowAfterMs - this.#lateMs;
    this.#lateMs = Math.max(0, slowAfterMs - inTimeMs);
    if (inTimeMs === 0) this.#becomesSlow();
    else this.#watch();
  }

  /** How many bytes the upstream has sent since the last call. */
  #newBytes(): number {
    const before = this.#receivedBytes;
    this.#receivedBytes = this.#options.receivedBytes?.() ?? 0;
    return this.#receivedBytes - before;
  }

  #inTimeMs(bytes: number): number {
    return (bytes / Math.max(1, this.#options.minBytesPerSecond)) * 1_000;
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

type Rated = Pick<RatedSourceOptions, 'source' | 'receivedBytes'>;

/**
 * Opens what is on its way from an upstream: when it comes slowly, its reader counts to the upstream's share of the requests.
 * @throws TooManyWaiters when the upstream's slow bodies are too many; what `open` throws.
 */
export async function ratedBody<Served extends Rated | undefined>(
  label: string,
  open: () => Promise<Served>,
  { waiters, clock, minBytesPerSecond }: RatedBodiesDeps,
): Promise<Served> {
  waiters.admitBody(label);
  const served = await open();
  if (!served) return served;
  const { source, receivedBytes } = served;
  try {
    const body = waiters.body(label);
    return { ...served, source: new RatedSource({ source, body, clock, minBytesPerSecond, receivedBytes }) };
  } catch (cause) {
    await source[Symbol.asyncDispose]();
    throw cause;
  }
}
