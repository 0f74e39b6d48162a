import type { Hash } from 'node:crypto';
import { algorithmOf, digestFrom } from '../../oci/digest.ts';
import { DigestMismatch, UpstreamError } from '../../oci/errors.ts';
import { freeMemory } from '../transfers/piece-buffers.ts';
import { isWrong, resultOf } from '../transfers/transfer-errors.ts';
import { withheldBytes } from '../transfers/withheld-tail.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import { ProgressWaiters } from '../concurrency/abortable-wait.ts';
import type { RelayOptions } from './relay-options.ts';
import { relayPace, roomForNext } from './relay-pace.ts';
import { RelayUpstream } from './relay-upstream.ts';
import { chunkBytes, RelayWindow } from './relay-window.ts';

/** How long a complete relay stays joinable after its last reader, if the window still holds all of it. */
const lingerMs = 1_000;

interface Reader {
  position: number;
  readonly gone: AbortController;
  /** Whether it makes requests of its own when the window has moved past it. Otherwise it fails. */
  readonly mayAskAlone: boolean;
  /** Set when the window has moved past the reader: its bytes then come from an upstream request of its own. */
  own?: ByteSource;
}

const maxWindowBytes = 8 * 1024 * 1024;
/** The rest of the window is for readers that are slower than the furthest. */
const maxAheadBytes = maxWindowBytes / 2;

/** Reads nothing. */
const leftBehind: ByteSource = {
  read: () => Promise.reject(new UpstreamError('busy', 'the reader has fallen behind what is relayed')),
  [Symbol.asyncDispose]: async () => {},
};

/**
 * One upstream answer for many readers, through a window in memory. Nothing is stored.
 *
 *     upstream ──▶ window ──▶ readers, each at its own position
 *                  start … slow reader … furthest reader … end
 *
 * The upstream is read at the pace of the furthest reader. Bytes that it has read stay for the others as long as the window's bound and the
 * memory budget allow. A reader that the window moves past continues with its own ranged request, and its own copy of the hash. The tail of
 * a blob is withheld from every reader until the whole blob is verified.
 *
 * When the readers keep the upstream waiting, its answer is closed after a while, and the rest is asked for by range when they have room:
 * so slow clients hold no connection that others need.
 */
export class Relay {
  readonly size: number | undefined;
  readonly #options: RelayOptions;
  readonly #upstream: RelayUpstream;
  readonly #window: RelayWindow;
  readonly #stop = new AbortController();
  readonly #settled = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #readers = new Set<Reader>();
  readonly #waiters = new ProgressWaiters();
  /** The hash of all bytes received. */
  readonly #hash: Hash | undefined;
  /** The hash of all bytes before the window. */
  readonly #startHash: Hash | undefined;
  #state: 'running' | 'complete' | 'failed' = 'running';
  #failure: unknown;
  #roomChanged: (() => void) | undefined;
  #lingering: NodeJS.Timeout | undefined;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.size = options.size;
    this.#hash = options.verify?.hash.copy();
    this.#startHash = options.verify?.hash.copy();
    this.#window = new RelayWindow({ from: options.from, memory: options.memory, maxBytes: maxWindowBytes });
    this.#upstream = new RelayUpstream({ ...options, until: options.until, signal: this.#stop.signal });
    this.#settled.promise.catch(() => {}); // Awaiting it is optional.
    void this.#run();
  }

  /** Whether a new reader can still read from the first byte. */
  get isJoinable(): boolean {
    return this.#window.start === this.#options.from && this.#state !== 'failed' && !this.#stop.signal.aborted;
  }

  /** How far the upstream is. */
  get receivedBytes(): number {
    return this.#window.end;
  }

  /** Resolves when all bytes have arrived, and are verified if they can be; rejects when the relay fails. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** Resolves when the relay is closed: no reader can join any more. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Adds a reader that begins at `position`: the relay's first byte, or one before it. It must be disposed. */
  join(position = this.#options.from, { mayAskAlone = true }: { readonly mayAskAlone?: boolean } = {}): ByteSource {
    clearTimeout(this.#lingering);
    const reader: Reader = { position, mayAskAlone, gone: new AbortController() };
    this.#readers.add(reader);
    return {
      read: (into, at) => this.#read(reader, into, at),
      [Symbol.asyncDispose]: async () => {
        reader.gone.abort();
        this.#waiters.wake();
        this.#removed(reader);
        await reader.own?.[Symbol.asyncDispose]();
      },
    };
  }

  /** Ends the relay, also while it has readers. */
  async close(): Promise<void> {
    clearTimeout(this.#lingering);
    this.#stop.abort(new UpstreamError('busy', 'the reader has left'));
    this.#roomChanged?.();
    this.#closed.resolve();
    this.#window.clear();
    await this.#upstream.close();
  }

  /** Ends the relay if it has no readers. */
  closeUnlessRead(): void {
    if (this.#readers.size === 0) void this.close();
  }

  async #read(reader: Reader, into: Uint8Array, position: number): Promise<number> {
    for (;;) {
      if (reader.gone.signal.aborted) throw new UpstreamError('busy', 'the reader has left');
      if (reader.own) return reader.own.read(into, position);
      if (this.#state === 'failed') throw this.#failure;
      const available = this.#visibleEnd() - position;
      if (available > 0) return this.#take(reader, into.subarray(0, Math.min(into.byteLength, available)), position);
      if (this.#state === 'complete') return 0;
      // What it jumps over counts as read.
      reader.position = Math.max(reader.position, Math.min(position, this.#window.end));
      this.#roomChanged?.();
      await this.#waiters.wait(reader.gone.signal);
    }
  }

  async #take(reader: Reader, into: Uint8Array, position: number): Promise<number> {
    const { from, verify } = this.#options;
    const before = position < from ? verify?.before : undefined;
    const bytes = before
      ? await before(into.subarray(0, Math.min(into.byteLength, from - position)), position)
      : this.#window.copy(into, position);
    reader.position = position + bytes;
    this.#roomChanged?.();
    return bytes;
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        const wasClosed = await this.#pauseWhile((isWaiting) => this.#pace(isWaiting) === 'wait');
        // After a pause, request only as much as the readers have room for: that answer ends by itself and frees its connection.
        const roomBytes = Math.max(maxAheadBytes - this.#aheadBytes(), chunkBytes);
        const piece = await this.#upstream.next(wasClosed ? roomBytes : undefined);
        if (!piece) break;
        await this.#receive(piece);
        freeMemory(piece);
      }
      this.#verify();
      this.#state = 'complete';
      this.#settled.resolve();
    } catch (cause) {
      this.#state = 'failed';
      this.#failure = cause;
      if (isWrong(resultOf(cause))) this.#options.blob.failedVerification();
      this.#settled.reject(cause);
    }
    await this.#upstream.close();
    this.#waiters.wake();
  }

  async #receive(piece: Uint8Array): Promise<void> {
    for (let done = 0; done < piece.byteLength; ) {
      await this.#makeRoom();
      const part = piece.subarray(done, done + this.#window.capacity);
      this.#window.append(part);
      this.#hash?.update(part);
      done += part.byteLength;
      this.#waiters.progressed(this.#window.end);
    }
  }

  async #makeRoom(): Promise<void> {
    for (;;) {
      this.#stop.signal.throwIfAborted();
      if (this.#window.capacity > 0 || this.#window.tryGrow()) return;
      const decide = () => roomForNext({ isFrontRead: this.#isFrontRead(), isStarved: this.#isStarved() });
      await this.#pauseWhile(() => decide() === 'wait');
      if (decide() === 'drop') this.#dropFront();
      else this.#window.grow();
    }
  }

  /** Waits for the readers. @returns whether they took so long that the upstream's answer was closed. */
  async #pauseWhile(mustWait: (isWaiting: boolean) => boolean): Promise<boolean> {
    if (!mustWait(false)) return false;
    let wasClosed = false;
    const timer = setTimeout(() => {
      wasClosed = true;
      void this.#upstream.closeAnswer();
    }, this.#options.closeAfterMs);
    try {
      while (mustWait(true)) {
        this.#stop.signal.throwIfAborted();
        const changed = Promise.withResolvers<void>();
        this.#roomChanged = changed.resolve;
        await changed.promise;
      }
    } finally {
      clearTimeout(timer);
      this.#roomChanged = undefined;
    }
    return wasClosed;
  }

  #pace(isWaiting: boolean): 'read' | 'wait' {
    return relayPace({ aheadBytes: this.#aheadBytes(), isStarved: this.#isStarved(), maxAheadBytes, isWaiting });
  }

  /** Drops the first chunk. Readers that have not read it yet continue with their own requests. */
  #dropFront(): void {
    const end = this.#window.frontEnd;
    for (const reader of this.#readers) if (reader.position < end) this.#continueAlone(reader);
    if (this.#startHash) for (const view of this.#window.views(this.#window.start, end)) this.#startHash.update(view);
    this.#window.dropFront();
  }

  #continueAlone(reader: Reader): void {
    const { from, verify } = this.#options;
    const common = { ...this.#options, first: undefined };
    const position = Math.max(reader.position, from);
    const hash = this.#startHash?.copy();
    if (hash) for (const view of this.#window.views(this.#window.start, position)) hash.update(view);
    const isBefore = verify !== undefined && reader.position < from;
    const own = isBefore ? common : { ...common, from: position, ...(hash && { verify: { hash } }) };
    this.#readers.delete(reader);
    reader.own = reader.mayAskAlone ? new Relay(own).join(reader.position) : leftBehind;
    this.#waiters.wake();
  }

  /** @throws DigestMismatch when the bytes are not those that the digest names. */
  #verify(): void {
    if (!this.#hash) return;
    const { digest } = this.#options;
    const actual = digestFrom(this.#hash, algorithmOf(digest));
    if (actual !== digest) throw new DigestMismatch(digest, actual);
  }

  #visibleEnd(): number {
    const { end } = this.#window;
    if (!this.#hash || this.#state === 'complete') return end;
    return Math.min(end, (this.size ?? end) - withheldBytes);
  }

  #furthest(): number {
    let furthest = this.#readers.size === 0 ? this.#window.start : 0;
    for (const { position } of this.#readers) furthest = Math.max(furthest, position);
    return furthest;
  }

  #aheadBytes(): number {
    return this.#window.end - this.#furthest();
  }

  #isStarved(): boolean {
    return this.#readers.size > 0 && this.#visibleEnd() <= this.#furthest();
  }

  #isFrontRead(): boolean {
    return this.#window.end > this.#window.start && this.#window.frontEnd <= this.#furthest();
  }

  #removed(reader: Reader): void {
    if (!this.#readers.delete(reader) || this.#readers.size > 0) return;
    // Clients that want the same bytes often come one after the other.
    if (this.#state === 'complete' && this.isJoinable)
      this.#lingering = setTimeout(() => void this.close(), lingerMs).unref();
    else void this.close();
  }
}
