import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../../oci/digest.ts';
import { DigestMismatch, UpstreamError } from '../../oci/errors.ts';
import { ProgressWaiters } from '../concurrency/abortable-wait.ts';
import type { ByteSource, BorrowedBuffer } from '../ports/byte-source.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { GatheredWrites, RecentPieces } from '../transfers/piece-buffers.ts';
import { resumedPieces } from '../transfers/resumed-pieces.ts';
import { type JoinOptions, SuspendedTail } from '../transfers/suspended-tail.ts';
import {
  DiskFailure,
  type DownloadEnd,
  isHang,
  isWorthResuming,
  isWrong,
  resultOf,
} from '../transfers/transfer-errors.ts';
import { withheldBytes } from '../transfers/withheld-tail.ts';
import { Checkpoints, DownloadHash, readBackOrDrop } from './commit.ts';
import type { DownloadDeps } from './download-deps.ts';

/** Kept in memory behind the writer: readers that keep up are woken for half of it. */
const recentBytes = 2 * 1024 * 1024;

/**
 * The bytes of a running download: one writer, many readers.
 *
 *     source ──hash──▶ queue ──writev──▶ incoming/<id>  ┄┄read by position┄┄▶ reader that fell behind
 *                                        0 ……… written
 *                                          recent pieces ┄┄borrowed┄┄┄┄┄┄┄┄┄▶ readers that keep up
 *                                               └ without the withheld tail, until size and digest are verified
 *
 * The writer never waits for a reader, and a reader sees only what is written, at its own pace. The download continues when its readers have
 * left.
 *
 *     running ──▶ verified ──▶ stored, or not: what fails now takes nothing from the readers
 *        ├──────▶ suspended: the disk takes no more, or hangs. Readers read the file to where writing stopped, then share a relay of the rest,
 *        │                   with a copy of the writer's hash and the same withheld tail. What cannot be read in time is relayed too
 *        └──────▶ failed: every reader's next read rejects, so no client ends up with a complete response. The partial download is left to
 *                         the next attempt, unless it may be wrong
 */
export class Download implements AsyncDisposable {
  readonly digest: Digest;
  readonly size: number | undefined;
  readonly #deps: DownloadDeps;
  readonly #settled = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<DownloadEnd>();
  readonly #abort = new AbortController();
  readonly #checkpoints: Checkpoints;
  #hash: DownloadHash;
  #state: 'running' | 'verified' | 'suspended' | 'failed' = 'running';
  #failure: unknown;
  #receivedBytes = 0;
  #writtenBytes = 0;
  readonly #writes: GatheredWrites;
  #isReadingBack = false;
  #readers = 0;
  readonly #waiters = new ProgressWaiters();
  readonly #recent: RecentPieces;
  #writerIsDone = false;
  #leaving: Promise<void> | undefined;
  #tail: SuspendedTail | undefined;

  constructor(deps: DownloadDeps) {
    this.#deps = deps;
    this.digest = deps.digest;
    this.size = deps.size;
    this.#hash = new DownloadHash(createHash(algorithmOf(deps.digest)));
    this.#checkpoints = new Checkpoints({ ...deps, made: deps.checkpoint });
    this.#recent = new RecentPieces({ maxBytes: recentBytes, memory: deps.memory });
    this.#writes = new GatheredWrites({
      memory: deps.memory,
      makeRoom: (bytes) => {
        this.#hash.writeBegins(); // Of all that was received.
        return deps.room.makeFor(bytes);
      },
      append: (chunks) => deps.incoming.append(chunks),
      inTime: (writing) => deps.watch.inTime(writing),
      onWritten: (chunks, bytes) => this.#written(chunks, bytes),
    });
    this.#settled.promise.catch(() => {}); // Awaiting it is optional.
  }

  /** Whether readers can no longer join: it has failed, is being ended, or its file may be closing. */
  get isOver(): boolean {
    const isEnded = this.#state === 'failed' || this.#state === 'suspended' || this.#abort.signal.aborted;
    return this.#writerIsDone || isEnded;
  }

  get isAbandoned(): boolean {
    return this.#state === 'running' && this.#readers === 0;
  }

  /** How far the writer is. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Resolves with whether readers can read the byte at `position`, when they can, will not, or the signal aborts. Never rejects. */
  async reached(position: number, { signal }: Waiting): Promise<boolean> {
    while (this.#state === 'running' && !signal.aborted && this.#visibleBytes() <= position)
      await this.#waiters.wait(signal);
    return this.#state !== 'failed' && this.#visibleBytes() > position;
  }

  /** Whether nothing arrives because the upstream sends nothing, and not because the disk is busy. */
  get waitsForUpstream(): boolean {
    return this.#state === 'running' && !this.#isReadingBack && !this.#writes.isAtDisk;
  }

  /** How many of the blob's bytes are here, written or not. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Resolves when size and digest are verified, or when each reader verifies by itself; rejects when the download fails. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** Resolves when nothing more will happen to the store: the blob is stored, or the download suspended or failed. Never rejects. */
  get ended(): Promise<DownloadEnd> {
    return this.#ended.promise;
  }

  /** Ends a download that is not wanted any more. */
  abort(reason: Error): void {
    this.#abort.abort(reason);
  }

  /**
   * Reads back the partial download, and writes and hashes what follows it.
   * @param opened the answer that begins where the partial download ends, or before it. The download owns it.
   * @throws UpstreamError, OciError, DiskFailure
   */
  async writeAndHash(opened: OpenedBlob): Promise<void> {
    const { blob, size, attemptsWithoutProgress, wait } = this.#deps;
    const { signal } = this.#abort;
    const first = await this.#readBack(opened);
    const from = this.#receivedBytes;
    const togetherBytes = () => this.#writes.wantedBytes;
    const rules = { attemptsWithoutProgress, wait, togetherBytes };
    for await (const pieces of resumedPieces({ blob, from, first, size, signal, ...rules })) {
      for (const piece of pieces) this.#receive(piece);
      await this.#writes.add(pieces);
    }
    await this.#writes.finish();
  }

  #receive(piece: Uint8Array): void {
    this.#receivedBytes += piece.byteLength;
    this.#hash.receive(piece);
  }

  /** Lets readers have the withheld tail. @throws DigestMismatch */
  verify(): void {
    // A copy: a checkpoint of the last bytes may still need the hash.
    const actual = digestFrom(this.#hash.written.copy(), algorithmOf(this.digest));
    if (actual !== this.digest) throw new DigestMismatch(this.digest, actual);
    this.#state = 'verified';
    this.#settled.resolve();
    this.#waiters.wake();
  }

  /** To be called when a step has failed. After `verify` the readers have all they need: the failure costs the next pull, not this one. */
  async fail(cause: unknown): Promise<DownloadEnd> {
    const bytes = this.#receivedBytes;
    if (this.#state === 'verified') return { result: 'disk_error', bytes, cause };
    const result = resultOf(cause);
    if (isWrong(result)) this.#deps.blob.failedVerification();
    this.#state = cause instanceof DiskFailure ? 'suspended' : 'failed';
    this.#failure = cause;
    if (this.#state === 'failed') this.#settled.reject(cause);
    else this.#settled.resolve();
    this.#waiters.wake();
    if (isWorthResuming(result)) this.#leaving = this.#leavePartial();
    if (this.#leaving) await this.#deps.watch.unlessLate(this.#leaving, this.#report);
    return { result, bytes, cause };
  }

  /** Nothing is written any more. On a disk that hangs the file is closed later, when the disk has returned from its last call. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#writes.stopWaiting();
    const closing = this.#deps.watch.unlessLate(this.#close(), this.#report);
    if (this.#state !== 'suspended' || !isHang(this.#failure)) await closing;
  }

  async #close(): Promise<void> {
    await this.#leaving;
    await this.#writes.end();
    this.#recent.clear();
    this.#writerIsDone = true;
    await this.#closeWhenUnused();
  }

  readonly #report = (cause: unknown): void => this.#deps.observer.internalError({ part: 'blob store', cause });

  /** To be called when clients cannot join it any more. */
  ends(end: DownloadEnd): void {
    this.#ended.resolve(end);
  }

  /** A reader of its own, at its own position. It must be disposed. */
  join({ mayAskForRest = true }: JoinOptions = {}): ByteSource {
    this.#readers += 1;
    const gone = new AbortController();
    let tail: ByteSource | undefined;
    return {
      read: async (into, position) => {
        while (!gone.signal.aborted) {
          if (tail) return tail.read(into, position);
          if (this.#state === 'failed') throw this.#failure;
          const available = this.#visibleBytes() - position;
          if (this.#state === 'suspended') {
            const bytes = await this.#suspended.read(into, position, available);
            if (bytes !== undefined) return bytes;
            tail = this.#suspended.join(position, { mayAskForRest, isUnread: available > 0 });
          } else if (available > 0) return this.#deps.incoming.read(into.subarray(0, available), position);
          else if (this.#state === 'verified') return 0;
          else await this.#waiters.wait(gone.signal);
        }
        throw new UpstreamError('busy', 'the reader has left');
      },
      borrow: (position, maxBytes) => this.#borrow(position, maxBytes, gone.signal),
      [Symbol.asyncDispose]: async () => {
        if (gone.signal.aborted) return;
        gone.abort();
        this.#readers -= 1;
        await tail?.[Symbol.asyncDispose]();
        if (this.isAbandoned) this.#deps.runs.readersLeft();
        await this.#closeWhenUnused();
      },
    };
  }

  async #borrow(position: number, maxBytes: number, gone: AbortSignal): Promise<BorrowedBuffer | undefined> {
    const isThere = await this.reached(position, { signal: gone });
    if (!isThere || gone.aborted) return undefined;
    return this.#recent.borrow(position, Math.min(maxBytes, this.#visibleBytes() - position));
  }

  /** @returns the answer to continue with; undefined if another is needed, since the partial download is damaged. */
  async #readBack(opened: OpenedBlob): Promise<OpenedBlob | undefined> {
    const { checkpoint } = this.#deps;
    if (!checkpoint) return opened;
    this.#isReadingBack = true;
    const onDropped = () => opened.body.destroy();
    const hash = await readBackOrDrop({ ...this.#deps, checkpoint }, this.#checkpoints, onDropped, this.#abort).finally(
      () => (this.#isReadingBack = false),
    );
    if (hash === 'dropped') return undefined;
    if (hash === undefined) return opened;
    this.#hash = new DownloadHash(hash);
    [this.#receivedBytes, this.#writtenBytes] = [checkpoint.bytes, checkpoint.bytes];
    this.#waiters.wake();
    return opened;
  }

  #written(chunks: readonly Uint8Array[], bytes: number): void {
    this.#deps.room.wrote(bytes);
    this.#deps.ticket.received(bytes);
    this.#hash.writeEnded();
    this.#recent.add(chunks, this.#writtenBytes);
    this.#writtenBytes += bytes;
    this.#checkpoints.afterWriting({ bytes: this.#writtenBytes, hash: this.#hash.written });
    this.#waiters.progressed(this.#writtenBytes);
  }

  /** Drops what is not written yet. */
  async #leavePartial(): Promise<void> {
    await this.#writes.drop();
    if (!this.#writes.hasFailed) await this.#checkpoints.leave();
  }

  #visibleBytes(): number {
    if (this.#state === 'verified') return this.#writtenBytes;
    const end = this.size ?? this.#receivedBytes;
    return Math.min(this.#writtenBytes, end - withheldBytes);
  }

  get #suspended(): SuspendedTail {
    const written = { recent: this.#recent, writtenBytes: this.#writtenBytes, hash: this.#hash.written };
    return (this.#tail ??= new SuspendedTail({ ...this.#deps, ...written, isHanging: isHang(this.#failure) }));
  }

  /** The writer or the last reader closes the file. */
  async #closeWhenUnused(): Promise<void> {
    if (this.#writerIsDone && this.#readers === 0) await this.#deps.incoming[Symbol.asyncDispose]();
  }
}
