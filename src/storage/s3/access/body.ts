import { Readable } from 'node:stream';
import { RateWatch } from '../../../mirror/concurrency/abortable-wait.ts';
import { UpstreamError } from '../../../oci/errors.ts';

export interface BucketBodyOptions {
  /** The response's own stream. */
  readonly source: Readable;
  /** How many bytes it must have. */
  readonly expectedBytes: number;
  /** How long nothing may arrive while the reader wants more. */
  readonly idleMs: number;
  /** How fast it must arrive, over {@link idleMs}, while the reader takes all of it: else the next source is asked. */
  readonly minBytesPerSecond: number;
  /** Called with the reason when the bucket is at fault. */
  readonly onFailed: (reason: 'timeout' | 'connect') => void;
}

/**
 * A body from the bucket. It fails with an UpstreamError if it is shorter or longer than announced, if nothing arrives for a while, or if it
 * arrives too slowly; a slow reader is not the bucket's fault. Destroying it ends the request.
 */
export class BucketBody extends Readable {
  readonly #options: BucketBodyOptions;
  #receivedBytes = 0;
  #idle: NodeJS.Timeout | undefined;
  #failure: Error | undefined;
  readonly #rate: RateWatch;

  constructor(options: BucketBodyOptions) {
    super({ highWaterMark: 64 * 1024 });
    this.#options = options;
    const { idleMs, minBytesPerSecond } = options;
    const leastBytes = (minBytesPerSecond * idleMs) / 1_000;
    this.#rate = new RateWatch({ leastBytes, windowMs: idleMs, onSlow: () => this.#fail('timeout') });
    this.on('error', () => {}); // It may fail before it is read; a later reader still gets the error.
    const { source } = options;
    source.on('data', (chunk: Buffer) => this.#receive(chunk));
    source.once('end', () => this.#end());
    source.once('error', (cause) => this.#fail('connect', cause));
    source.once('close', () => this.#end());
    this._read(); // What has arrived when the connection breaks is lost unless it is taken from the source before.
  }

  override _read(): void {
    if (this.#failure) return;
    this.#expectMore();
    this.#options.source.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#expectNothing();
    this.#options.source.destroy();
    done(error ?? this.#failure);
  }

  #receive(chunk: Buffer): void {
    if (this.#failure) return;
    const { source, expectedBytes } = this.#options;
    this.#receivedBytes += chunk.length;
    this.#rate.received(chunk.length);
    if (this.#receivedBytes > expectedBytes) return this.#fail('connect');
    if (this.push(chunk)) {
      this.#idle?.refresh();
      return;
    }
    this.#expectNothing();
    source.pause();
  }

  #end(): void {
    if (this.destroyed || this.readableEnded || this.#failure) return;
    this.#expectNothing();
    if (this.#receivedBytes < this.#options.expectedBytes) this.#fail('connect');
    else this.push(null);
  }

  #fail(reason: 'timeout' | 'connect', cause?: unknown): void {
    if (this.destroyed || this.#failure) return;
    const { onFailed, expectedBytes, source } = this.#options;
    onFailed(reason);
    const message = `the shared bucket sent ${this.#receivedBytes} of ${expectedBytes} bytes`;
    this.#failure = new UpstreamError(reason, message, { cause });
    this.#expectNothing();
    source.destroy();
    this.push(null); // The reader gets what has arrived, so that it is not requested again, and then the error.
  }

  #expectMore(): void {
    this.#idle ??= setTimeout(() => this.#fail('timeout'), this.#options.idleMs);
    this.#rate.waits();
  }

  #expectNothing(): void {
    this.#rate.pauses();
    clearTimeout(this.#idle);
    this.#idle = undefined;
  }
}
