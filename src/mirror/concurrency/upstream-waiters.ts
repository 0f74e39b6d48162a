import { UpstreamError } from '../../oci/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { ByteSource, BorrowedBuffer } from '../ports/byte-source.ts';

export interface UpstreamWaitersDeps {
  /** How many requests may run at the same time: `clients.maxRequests`. */
  readonly maxRequests: number;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'rejected'>;
}

/** A request whose body is on its way from an upstream. */
export interface BodyReader {
  /** Counts it until it has caught up, or ended. @throws TooManyWaiters when the share is exceeded. */
  isSlow(): void;
  caughtUp(): void;
  end(): void;
}

/** How many requests wait for an upstream's answer. */
export interface WaiterCounts {
  readonly ofUpstream: number;
  readonly ofAll: number;
  readonly maxRequests: number;
}

const retryAfterSeconds = 2;
/** How long after an overload every body of that upstream counts from its start. */
const suspectForMs = 60_000;

interface Counts {
  answers: number;
  bodies: number;
  suspectUntilMs: number;
}

/**
 * Whether one more request may wait for an upstream: the requests that wait for it must be fewer than those that are still free. Pure.
 * So one silent upstream can take half of the requests and a second one half of the rest; the last free request is never taken. If none
 * waits, one may always wait.
 */
export function mayWait({ ofUpstream, ofAll, maxRequests }: WaiterCounts): boolean {
  return ofAll === 0 || ofUpstream < maxRequests - 1 - ofAll;
}

/**
 * Counts the requests that wait for an upstream's answer, and those whose body comes too slowly, by label. Requests answered from the cache
 * do not count, nor do bodies that come in time. When slow bodies are too many, those that become slow are cut.
 */
export class UpstreamWaiters {
  readonly #deps: UpstreamWaitersDeps;
  readonly #byUpstream = new Map<string, Counts>();
  #all = 0;

  constructor(deps: UpstreamWaitersDeps) {
    this.#deps = deps;
  }

  /**
   * Runs `work`, in which a request waits for the upstream. Must not be nested: a request counts once.
   * @throws TooManyWaiters without running `work`; what `work` throws.
   */
  async wait<Value>(label: string, work: () => Promise<Value>): Promise<Value> {
    const counts = this.#countsOf(label);
    this.#admit(label, counts.answers + counts.bodies);
    counts.answers += 1;
    this.#all += 1;
    try {
      return await work();
    } finally {
      counts.answers -= 1;
      this.#all -= 1;
    }
  }

  /** To be called before anything is begun whose body will be read. @throws TooManyWaiters when its slow bodies are too many. */
  admitBody(label: string): void {
    const counts = this.#countsOf(label);
    if (this.#isSuspect(counts)) this.#admit(label, counts.bodies);
  }

  /** A body begins to be read. @throws TooManyWaiters. */
  body(label: string): BodyReader {
    const counts = this.#countsOf(label);
    let counted = 0;
    const isSlow = (): void => {
      if (counted > 0) return;
      if (!this.#mayWait(counts.bodies)) counts.suspectUntilMs = this.#deps.clock.monotonicMs() + suspectForMs;
      this.#admit(label, counts.bodies);
      counted = 1;
      counts.bodies += 1;
      this.#all += 1;
    };
    const uncount = (): void => {
      counts.bodies -= counted;
      this.#all -= counted;
      counted = 0;
    };
    if (this.#isSuspect(counts)) isSlow();
    return { isSlow, caughtUp: uncount, end: uncount };
  }

  /** How many requests wait for an upstream now. */
  waitingFor(label: string): number {
    const { answers, bodies } = this.#countsOf(label);
    return answers + bodies;
  }

  #countsOf(label: string): Counts {
    const counts = this.#byUpstream.get(label) ?? { answers: 0, bodies: 0, suspectUntilMs: Number.NEGATIVE_INFINITY };
    this.#byUpstream.set(label, counts);
    return counts;
  }

  #isSuspect({ suspectUntilMs }: Counts): boolean {
    return this.#deps.clock.monotonicMs() < suspectUntilMs;
  }

  #mayWait(ofUpstream: number): boolean {
    return mayWait({ ofUpstream, ofAll: this.#all, maxRequests: this.#deps.maxRequests });
  }

  #admit(label: string, ofUpstream: number): void {
    if (this.#mayWait(ofUpstream)) return;
    this.#deps.observer.rejected({ reason: 'upstream' });
    throw new TooManyWaiters(label);
  }
}

/** Too many requests wait for an upstream: one more is refused. */
export class TooManyWaiters extends UpstreamError {
  constructor(label: string) {
    super('busy', `too many requests wait for ${label}`, { retryAfterSeconds });
  }
}

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
 * The body of an answer. While it is slow, its reader counts against the upstream's share of requests. Only the time counts in which the
 * reader waits for bytes: a client that takes its time makes no body slow. A body beyond the share is cut. One that has caught up with the
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
    this.#timer = setTimeout(() => this.#looksSlow(), this.#leftMs);
  }

  /** How much later the body may become before it is slow. Its timer may be late too. */
  get #leftMs(): number {
    return Math.max(0, slowAfterMs - this.#lateMs);
  }

  /** A reader may wait for a later part of a body that comes in time. */
  #looksSlow(): void {
    const inTimeMs = this.#inTimeMs(this.#newBytes());
    this.#waitingSinceMs += this.#leftMs;
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
      // Ends the wait. The reader disposes this source too, and gets the failure there.
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
