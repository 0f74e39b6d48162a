import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Memory, MemoryReservation } from '../../mirror/ports/memory.ts';
import { UpstreamError } from '../../oci/errors.ts';

export interface AnswerBodyOptions {
  readonly controller: Dispatcher.DispatchController;
  readonly host: string;
  /** How long nothing may arrive while there is room for it. */
  readonly idleMs: number;
  /** Told of about every MiB received, and of the rest at the end. */
  readonly onBytes: (bytes: number) => void;
  /** What is held for a busy reader counts against it. Absent: nothing else bounds it. */
  readonly memory?: Memory | undefined;
}

/** Pieces arrive in 64 KiB: this many are held for a reader that is busy with something else. */
const heldBytes = 1024 * 1024;
/** … and this many where memory is short. */
const leastHeldBytes = 64 * 1024;
/** Smaller pieces are put together: each costs as much memory as two hundred bytes, and its time. */
const smallBytes = 4 * 1024;
/** An upstream that sends chunks of one byte gets no more of a turn of the event loop than these take. */
const maxSmallATurn = 256;

/**
 * The body of an answer, as it arrives. Destroying it before its end drops the connection.
 *
 * undici's bodyTimeout does not fire under back-pressure (undici #5393), and a slow reader is no reason to blame the upstream: the
 * clock of this one stands still while the reader has not taken what is held.
 */
export class AnswerBody extends Readable {
  readonly #options: AnswerBodyOptions;
  #idle: NodeJS.Timeout | undefined;
  #isComplete = false;
  #failure: Error | undefined;
  #untoldBytes = 0;
  #receivedBytes = 0;
  #expectedBytes: number | undefined;
  #tooFew: 'connect' | 'misbehaving' = 'connect';
  readonly #reservation: MemoryReservation | undefined;
  /** Of this turn of the event loop. */
  #small: Buffer[] = [];
  #gatheredBytes = 0;

  constructor(options: AnswerBodyOptions) {
    super({ highWaterMark: heldBytes });
    this.#options = options;
    this.#reservation = options.memory?.tryReserve(0, { isOptional: true });
    // It may fail before anybody reads it. Whoever reads it later still meets the error.
    this.on('error', () => {});
    this.#expectMore();
  }

  /**
   * Fails the body unless exactly `bytes` arrive in all: for answers whose framing does not tell. To be called before reading.
   * @param tooFew what it means that fewer arrive: a body that ends with its connection may have been cut.
   */
  expect(bytes: number, tooFew: 'connect' | 'misbehaving'): void {
    this.#expectedBytes = bytes;
    this.#tooFew = tooFew;
    this.#checkLength();
  }

  /** What is read of it counts against it. */
  get memory(): Memory | undefined {
    return this.#options.memory;
  }

  receive(chunk: Buffer): void {
    this.#receivedBytes += chunk.length;
    this.#checkLength();
    this.#tell(chunk.length, heldBytes);
    const takesMore = chunk.length < smallBytes ? this.#gather(chunk) : this.#pushAll(chunk);
    if (takesMore && this.#mayHoldMore()) this.#idle?.refresh();
    else this.#pause();
  }

  complete(): void {
    this.#pushAll();
    this.#isComplete = true;
    this.#expectNothing();
    this.#checkLength();
    if (!this.#failure) this.push(null);
  }

  /** The exchange broke off. What has arrived is read to its end first, so that nobody asks for it again; then the failure is met. */
  fail(failure: Error): void {
    if (this.#isComplete || this.destroyed) return;
    this.#pushAll();
    this.#isComplete = true;
    this.#failAtEnd(failure);
  }

  /** @returns whether this turn takes more. */
  #gather(piece: Buffer): boolean {
    if (this.#small.length === 0) setImmediate(() => this.#endTurn());
    this.#small.push(piece);
    this.#gatheredBytes += piece.length;
    const hasRoom = this.#gatheredBytes < leastHeldBytes && this.#allBytes < this.readableHighWaterMark;
    return hasRoom && this.#small.length < maxSmallATurn;
  }

  /** @returns whether the reader has room for more. */
  #pushAll(chunk?: Buffer): boolean {
    if (this.destroyed || this.#isComplete) return false;
    const gathered = this.#small.splice(0);
    this.#gatheredBytes = 0;
    if (gathered.length > 0) this.push(Buffer.concat(gathered));
    return chunk === undefined ? this.readableLength < this.readableHighWaterMark : this.push(chunk);
  }

  #endTurn(): void {
    if (this.#small.length === 0) return;
    this.#pushAll();
    this._read();
  }

  #failAtEnd(failure: Error): void {
    this.#failure = failure;
    this.#expectNothing();
    this.#tell(0, 1);
    this.push(null);
  }

  /** Where memory is short what is held has to be read first: streams ask for more long before. */
  override read(size?: number): unknown {
    const piece: unknown = super.read(size);
    if (piece !== null) this._read();
    return piece;
  }

  override _read(): void {
    const hasRoom = this.#mayHoldMore() && this.readableLength < this.readableHighWaterMark;
    if (!hasRoom || this.#isComplete || !this.#options.controller.paused) return;
    this.#expectMore();
    this.#options.controller.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#expectNothing();
    this.#reservation?.release();
    this.#tell(0, 1);
    if (!this.#isComplete) this.#options.controller.abort(error ?? new Error('nobody reads it any more'));
    done(error ?? this.#failure);
  }

  #checkLength(): void {
    const expected = this.#expectedBytes ?? this.#receivedBytes;
    const { host } = this.#options;
    const message = `${host} sent ${this.#receivedBytes} bytes of ${expected}`;
    if (this.#receivedBytes > expected) this.destroy(new UpstreamError('misbehaving', message));
    else if (this.#isComplete && this.#receivedBytes < expected)
      this.#failAtEnd(new UpstreamError(this.#tooFew, message));
  }

  get #allBytes(): number {
    return this.readableLength + this.#gatheredBytes;
  }

  /** Reserves for what is held. */
  #mayHoldMore(): boolean {
    if (!this.#reservation) return true;
    const hasRoom = this.#reservation.tryResize(this.#allBytes);
    return hasRoom || this.#allBytes < leastHeldBytes;
  }

  #pause(): void {
    this.#expectNothing();
    this.#options.controller.pause();
  }

  #expectMore(): void {
    const { host, idleMs, controller } = this.#options;
    const giveUp = () => {
      const failure = new UpstreamError('timeout', `${host} sent nothing for ${idleMs} ms`);
      this.fail(failure);
      controller.abort(failure);
    };
    this.#idle ??= setTimeout(giveUp, idleMs);
  }

  #expectNothing(): void {
    clearTimeout(this.#idle);
    this.#idle = undefined;
  }

  #tell(bytes: number, atLeast: number): void {
    this.#untoldBytes += bytes;
    if (this.#untoldBytes < atLeast) return;
    this.#options.onBytes(this.#untoldBytes);
    this.#untoldBytes = 0;
  }
}
