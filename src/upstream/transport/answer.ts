import type { IncomingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { RateWatch } from '../../mirror/concurrency/abortable-wait.ts';
import type { Memory, MemoryReservation } from '../../mirror/ports/memory.ts';
import type { ByteRange, OpenedBlob } from '../../mirror/ports/upstream.ts';
import { UpstreamError } from '../../oci/errors.ts';

/** The answer, with any status. The caller must read the body to its end or destroy it. */
export interface Answer {
  readonly url: URL;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: AnswerBody;
}

export function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** @returns undefined when it is absent or invalid. */
export function contentLengthOf(headers: IncomingHttpHeaders): number | undefined {
  return wholeNumber(headerOf(headers, 'content-length'));
}

/** `bytes 5-9/20`, `bytes 5-9/*`, and of a 416 `bytes *\/20` (RFC 9110 §14.4). */
export interface ContentRange {
  readonly start: number | undefined;
  readonly end: number | undefined;
  readonly size: number | undefined;
}

export function contentRangeOf(headers: IncomingHttpHeaders): ContentRange | undefined {
  const grammar = /^bytes\s+(?:(\d{1,15})-(\d{1,15})|\*)\/(?:(\d{1,15})|\*)$/i;
  const [whole, start, end, size] = grammar.exec(headerOf(headers, 'content-range')?.trim() ?? '') ?? [];
  if (whole === undefined) return undefined;
  return { start: wholeNumber(start), end: wholeNumber(end), size: wholeNumber(size) };
}

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/**
 * The blob in an answer of 200 or 206.
 * @throws UpstreamError misbehaving for another range than requested.
 */
export function openedBlob(answer: Answer, range: ByteRange | undefined): OpenedBlob {
  if (answer.status === 206) return openedPart(answer, range);
  return { size: contentLengthOf(answer.headers), offset: 0, body: answer.body };
}

/** A 206 must start at the requested offset and end within the range: another part would corrupt a resumed download (harbor #23601). */
function openedPart(answer: Answer, range: ByteRange | undefined): OpenedBlob {
  const { start, end, size } = contentRangeOf(answer.headers) ?? {};
  const fits =
    range !== undefined && start === range.start && end !== undefined && end >= start && end <= (range.end ?? end);
  const length = fits ? end - start + 1 : undefined;
  if (!fits || (contentLengthOf(answer.headers) ?? length) !== length) {
    answer.body.destroy();
    throw new UpstreamError('misbehaving', `${answer.url.host} sent another part of the blob than was asked for`);
  }
  const isChunked = answer.headers['transfer-encoding'] !== undefined;
  answer.body.expect(end - start + 1, isChunked ? 'misbehaving' : 'connect');
  return { size, offset: start, body: answer.body };
}

export interface AnswerBodyOptions {
  readonly controller: Dispatcher.DispatchController;
  readonly host: string;
  /** Idle timeout while the body has room for more. */
  readonly idleMs: number;
  /** Called with about every MiB received, and with the rest at the end. */
  readonly onBytes: (bytes: number) => void;
  /** Buffered bytes count against it. Absent: no other bound than `maxBufferedBytes`. */
  readonly memory?: Memory | undefined;
}

/** How much is buffered for a busy reader; chunks of 64 KiB arrive. */
const maxBufferedBytes = 1024 * 1024;
/** … and how much if memory is short. */
const minBufferedBytes = 64 * 1024;
/** Smaller chunks are joined: each costs about 200 bytes of memory, and time. */
const smallBytes = 4 * 1024;
/** How many small chunks are taken in one turn of the event loop, from an upstream that sends single bytes. */
const maxSmallATurn = 256;

/**
 * The body of an answer, as it arrives. Destroying it before its end drops the connection.
 *
 * undici's bodyTimeout does not fire under back-pressure (undici #5393), and a slow reader is not the upstream's fault: this idle timeout is
 * stopped while the buffer is full.
 */
export class AnswerBody extends Readable {
  readonly #options: AnswerBodyOptions;
  #idle: NodeJS.Timeout | undefined;
  #isComplete = false;
  #failure: Error | undefined;
  #unreportedBytes = 0;
  #receivedBytes = 0;
  #expectedBytes: number | undefined;
  #shortBodyReason: 'connect' | 'misbehaving' = 'connect';
  #rate: RateWatch | undefined;
  readonly #reservation: MemoryReservation | undefined;
  /** Small chunks of this turn of the event loop. */
  #small: Buffer[] = [];
  #gatheredBytes = 0;

  constructor(options: AnswerBodyOptions) {
    super({ highWaterMark: maxBufferedBytes });
    this.#options = options;
    this.#reservation = options.memory?.tryReserve(0, { isOptional: true });
    // It may fail before it is read; a later reader still gets the error.
    this.on('error', () => {});
    this.#expectMore();
  }

  /**
   * Fails the body unless exactly `bytes` arrive, for answers whose framing does not give their length. To be called before reading.
   * @param shortBodyReason the reason if fewer arrive: a body that ends with its connection may have been cut.
   */
  expect(bytes: number, shortBodyReason: 'connect' | 'misbehaving'): void {
    this.#expectedBytes = bytes;
    this.#shortBodyReason = shortBodyReason;
    this.#checkLength();
  }

  /** Fails the body when it arrives more slowly than this, over its idle timeout, while the reader takes all of it. To be called before reading. */
  expectRate(bytesPerSecond: number): void {
    const { host, idleMs } = this.#options;
    const onSlow = (bytes: number) =>
      this.#giveUp(new UpstreamError('timeout', `${host} sent ${bytes} bytes in ${idleMs} ms`));
    this.#rate = new RateWatch({ leastBytes: (bytesPerSecond * idleMs) / 1_000, windowMs: idleMs, onSlow });
    if (this.isWaiting) this.#rate.waits();
  }

  /** Readers count what they read against it. */
  get memory(): Memory | undefined {
    return this.#options.memory;
  }

  /** So far. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Whether it has room for more, and more has not come: the idle timeout runs. */
  get isWaiting(): boolean {
    return this.#idle !== undefined;
  }

  /** The idle timeout begins again, if it runs. */
  waitLonger(): void {
    this.#idle?.refresh();
  }

  receive(chunk: Buffer): void {
    this.#receivedBytes += chunk.length;
    this.#rate?.received(chunk.length);
    this.#checkLength();
    this.#report(chunk.length, maxBufferedBytes);
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

  /** The connection failed. The reader gets what has arrived, so that it is not requested again, and then the error. */
  fail(failure: Error): void {
    if (this.#isComplete || this.destroyed) return;
    this.#pushAll();
    this.#isComplete = true;
    this.#failAtEnd(failure);
  }

  /** @returns whether more is taken in this turn. */
  #gather(piece: Buffer): boolean {
    if (this.#small.length === 0) setImmediate(() => this.#endTurn());
    this.#small.push(piece);
    this.#gatheredBytes += piece.length;
    const hasRoom = this.#gatheredBytes < minBufferedBytes && this.#allBytes < this.readableHighWaterMark;
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
    this.#report(0, 1);
    this.push(null);
  }

  /** Reads on only when the buffer is empty, if memory is short: a stream would ask for more earlier. */
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
    this.#report(0, 1);
    if (!this.#isComplete) this.#options.controller.abort(error ?? new Error('the reader has closed the body'));
    done(error ?? this.#failure);
  }

  #checkLength(): void {
    const expected = this.#expectedBytes ?? this.#receivedBytes;
    const { host } = this.#options;
    const message = `${host} sent ${this.#receivedBytes} bytes of ${expected}`;
    if (this.#receivedBytes > expected) this.destroy(new UpstreamError('misbehaving', message));
    else if (this.#isComplete && this.#receivedBytes < expected)
      this.#failAtEnd(new UpstreamError(this.#shortBodyReason, message));
  }

  get #allBytes(): number {
    return this.readableLength + this.#gatheredBytes;
  }

  /** Reserves memory for the buffered bytes. */
  #mayHoldMore(): boolean {
    if (!this.#reservation) return true;
    const hasRoom = this.#reservation.tryResize(this.#allBytes);
    return hasRoom || this.#allBytes < minBufferedBytes;
  }

  #pause(): void {
    this.#expectNothing();
    this.#options.controller.pause();
  }

  #expectMore(): void {
    const { host, idleMs } = this.#options;
    const giveUp = () => this.#giveUp(new UpstreamError('timeout', `${host} sent nothing for ${idleMs} ms`));
    this.#idle ??= setTimeout(giveUp, idleMs);
    this.#rate?.waits();
  }

  #giveUp(failure: UpstreamError): void {
    this.fail(failure);
    this.#options.controller.abort(failure);
  }

  #expectNothing(): void {
    clearTimeout(this.#idle);
    this.#idle = undefined;
    this.#rate?.pauses();
  }

  #report(bytes: number, atLeast: number): void {
    this.#unreportedBytes += bytes;
    if (this.#unreportedBytes < atLeast) return;
    this.#options.onBytes(this.#unreportedBytes);
    this.#unreportedBytes = 0;
  }
}
