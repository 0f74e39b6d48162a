import { createHash, type Hash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../../oci/digest.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { DiskFailure, type DownloadEnd, isWorthGoingOn, resultOf } from './download-end.ts';
import { GatheredWrites } from '../transfers/gathered-writes.ts';
import type { OpenPart } from '../relays/relay-upstream.ts';
import type { RelayRules } from '../relays/relay-options.ts';
import { readBack } from './going-on.ts';
import { DigestMismatch, heldBackBytes } from '../transfers/held-back.ts';
import { Marks } from './marks.ts';
import type { IncomingBlob, Mark } from '../ports/blob-store.ts';
import type { ByteSource, Loan } from '../ports/byte-source.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import { RecentPieces } from '../transfers/recent-pieces.ts';
import { resumedPieces } from '../transfers/resumed-pieces.ts';
import { ProgressWaiters } from '../concurrency/progress-waiters.ts';
import { SuspendedTail } from '../transfers/suspended-tail.ts';

/** Kept in memory behind the writer: readers that keep up are woken for half of it. */
const recentBytes = 2 * 1024 * 1024;

export interface DownloadDeps extends RelayRules {
  readonly digest: Digest;
  /** What the upstream or a descriptor promised; undefined when nobody did. */
  readonly size: number | undefined;
  /** The upstream's answer. The download owns it. */
  readonly opened: OpenedBlob;
  /** Asks the upstream again, from a position on. */
  readonly open: OpenPart;
  /** Where it is written. The download owns it. */
  readonly incoming: IncomingBlob;
  /** Of what `incoming` holds already: nothing of that is trusted before it was read back. */
  readonly mark?: Mark | undefined;
  /** Called when that is not what the mark says: all begins anew. */
  readonly onDamaged: (cause: unknown) => void;
  /** Makes the verified blob visible: commit and record. */
  readonly keep: (verified: { readonly size: number }) => Promise<void>;
  /** Called when the last reader has left a download that still runs. */
  readonly onAbandoned: () => void;
  /** Called when what follows a suspended download is other than the digest names. */
  readonly onWrong?: (() => void) | undefined;
  /** Called before bytes are written. Rejects when the store takes no more. */
  readonly makeRoom: (bytes: number) => Promise<void>;
  /** Called with every piece written, before readers see it. */
  readonly onWritten: (bytes: number) => void;
}

/**
 * One running download: one writer, many readers.
 *
 *     upstream ──▶ queue ──writev, hash──▶ incoming/<id>  ┄┄read by position┄┄▶ reader that fell behind
 *                                          0 ……… written
 *                                            recent pieces ┄┄lent┄┄┄┄┄┄┄┄┄┄┄┄┄▶ readers that keep up
 *                                                 └ minus the held-back end, until size and digest are verified
 *
 * The writer never waits for a reader, and a reader sees only what is written, at its own pace. It goes on when its readers have left.
 *
 *     running ──▶ verified ──▶ kept, or not: what fails now takes nothing from the readers
 *        ├──────▶ suspended: the disk takes no more. Readers read the file to where writing stopped, then go on together with a relay of
 *        │                   what follows, a copy of the writer's hash and the same held-back end
 *        └──────▶ failed: every reader's next read rejects, so no client ends up with a complete response. What came is left to the
 *                         next attempt, unless it may be wrong
 */
export class Download {
  readonly digest: Digest;
  readonly size: number | undefined;
  /** Resolves when nothing more will happen to the store: kept, suspended or failed. Never rejects. */
  readonly ended: Promise<DownloadEnd>;
  readonly #deps: DownloadDeps;
  readonly #settled = Promise.withResolvers<void>();
  readonly #abort = new AbortController();
  readonly #marks: Marks;
  /** Of what is written: where a reader's own stream takes over when the disk takes no more. */
  #hash: Hash;
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
  #tail: SuspendedTail | undefined;

  constructor(deps: DownloadDeps) {
    this.#deps = deps;
    this.digest = deps.digest;
    this.size = deps.size;
    this.#hash = createHash(algorithmOf(deps.digest));
    this.#marks = new Marks({ ...deps, made: deps.mark });
    this.#recent = new RecentPieces({ maxBytes: recentBytes, memory: deps.memory });
    this.#writes = new GatheredWrites({
      memory: deps.memory,
      append: (chunks, bytes) => deps.makeRoom(bytes).then(() => deps.incoming.append(chunks)),
      onWritten: (chunks, bytes) => this.#written(chunks, bytes),
    });
    this.#settled.promise.catch(() => {}); // Whoever waits for it is told; nobody has to wait.
    this.ended = this.#run();
  }

  /** Nobody can join it any more: it has failed, or its file may be closing. */
  get isOver(): boolean {
    return this.#writerIsDone || this.#state === 'failed' || this.#state === 'suspended';
  }

  get isAbandoned(): boolean {
    return this.#state === 'running' && this.#readers === 0;
  }

  /** How far the writer is: a range far ahead of it may be cheaper to ask for than to wait for. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Whether nothing arrives because the upstream sends nothing, and not because the disk is busy. */
  get waitsForUpstream(): boolean {
    return this.#state === 'running' && !this.#isReadingBack && !this.#writes.isAtDisk;
  }

  /** Resolves when size and digest are right, or each reader has to see to that itself; rejects when the download fails. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** Ends a download nobody waits for any more. */
  abort(reason: Error): void {
    this.#abort.abort(reason);
  }

  /** A reader of its own, at its own position. It must be disposed. */
  join(): ByteSource {
    this.#readers += 1;
    const gone = new AbortController();
    let tail: ByteSource | undefined;
    return {
      read: async (into, position) => {
        while (!gone.signal.aborted) {
          if (tail) return tail.read(into, position);
          if (this.#state === 'failed') throw this.#failure;
          const available = this.#visibleBytes() - position;
          if (available > 0) return this.#readFile(into, position, available);
          if (this.#state === 'verified') return 0;
          if (this.#state === 'suspended') tail = this.#tailFrom(position);
          else await this.#waiters.wait(gone.signal);
        }
        throw new UpstreamError('busy', 'the reader has left');
      },
      lend: (position, maxBytes) => this.#lend(position, maxBytes, gone.signal),
      [Symbol.asyncDispose]: async () => {
        if (gone.signal.aborted) return;
        gone.abort(new UpstreamError('busy', 'the reader has left'));
        this.#readers -= 1;
        await tail?.[Symbol.asyncDispose]();
        if (this.isAbandoned) this.#deps.onAbandoned();
        await this.#closeWhenUnused();
      },
    };
  }

  async #lend(position: number, maxBytes: number, gone: AbortSignal): Promise<Loan | undefined> {
    while (this.#state === 'running' && !gone.aborted && this.#visibleBytes() <= position)
      await this.#waiters.wait(gone);
    if (this.#state === 'failed' || gone.aborted) return undefined;
    const available = this.#visibleBytes() - position;
    return available > 0 ? this.#recent.lend(position, Math.min(maxBytes, available)) : undefined;
  }

  async #run(): Promise<DownloadEnd> {
    try {
      await this.#receiveAll(await this.#goOn());
      this.#verify();
    } catch (cause) {
      this.#fail(cause);
      const result = resultOf(cause);
      if (isWorthGoingOn(result)) await this.#leave();
      return { result, bytes: this.#receivedBytes, cause };
    } finally {
      this.#writes.stopWaiting();
      if (this.#state !== 'verified') await this.#endWriting();
    }
    return this.#keep();
  }

  /** @returns the answer to go on with; undefined where another is needed, since nothing that was there can be used. */
  async #goOn(): Promise<OpenedBlob | undefined> {
    const { opened, mark, incoming, onDamaged } = this.#deps;
    if (!mark) return opened;
    this.#isReadingBack = true;
    try {
      const hash = await readBack(incoming, mark, this.#abort);
      if (hash) this.#trust(mark, hash);
      return opened;
    } catch (cause) {
      onDamaged(cause);
      opened.body.destroy();
      await this.#marks.clear().catch((failure: unknown) => {
        throw new DiskFailure(failure);
      });
      return undefined;
    } finally {
      this.#isReadingBack = false;
    }
  }

  #trust({ bytes }: Mark, hash: Hash): void {
    this.#hash = hash;
    this.#receivedBytes = bytes;
    this.#writtenBytes = bytes;
    this.#waiters.wake();
  }

  async #receiveAll(first: OpenedBlob | undefined): Promise<void> {
    const { open, size, ...rules } = this.#deps;
    const { signal } = this.#abort;
    const again = (position: number) => open(position, undefined, { signal });
    const from = this.#receivedBytes;
    for await (const piece of resumedPieces({ ...rules, from, first, openAt: again, size, signal })) {
      this.#receivedBytes += piece.byteLength;
      await this.#writes.add(piece);
    }
    await this.#writes.finish();
  }

  #written(chunks: readonly Uint8Array[], bytes: number): void {
    this.#deps.onWritten(bytes);
    for (const chunk of chunks) this.#hash.update(chunk); // By now the disk may be busy with the next.
    this.#recent.add(chunks, this.#writtenBytes);
    this.#writtenBytes += bytes;
    this.#marks.afterWriting({ bytes: this.#writtenBytes, hash: this.#hash });
    this.#waiters.progressed(this.#writtenBytes);
  }

  /** @throws UpstreamError misbehaving when the bytes are not what the digest names. */
  #verify(): void {
    // A copy: a mark of what came last may still be asked of it.
    const actual = digestFrom(this.#hash.copy(), algorithmOf(this.digest));
    if (actual !== this.digest) throw new DigestMismatch(this.digest, actual);
    this.#state = 'verified';
    this.#settled.resolve();
    this.#waiters.wake();
  }

  /** The readers have all they need: whatever fails from here on costs the next pull, not this one. */
  async #keep(): Promise<DownloadEnd> {
    const bytes = this.#receivedBytes;
    try {
      await this.#deps.keep({ size: bytes });
      return { result: 'ok', bytes };
    } catch (cause) {
      return { result: 'disk_error', bytes, cause };
    } finally {
      await this.#endWriting();
    }
  }

  #fail(cause: unknown): void {
    this.#state = cause instanceof DiskFailure ? 'suspended' : 'failed';
    this.#failure = cause;
    if (this.#state === 'failed') this.#settled.reject(cause);
    else this.#settled.resolve();
    this.#waiters.wake();
  }

  /** What is not written yet is asked for again. */
  async #leave(): Promise<void> {
    await this.#writes.drop();
    if (!this.#writes.hasFailed) await this.#marks.leave();
  }

  #visibleBytes(): number {
    if (this.#state === 'verified') return this.#writtenBytes;
    const end = this.size ?? this.#receivedBytes;
    return Math.min(this.#writtenBytes, end - heldBackBytes);
  }

  #readFile(into: Uint8Array, position: number, available: number): Promise<number> {
    return this.#deps.incoming.read(into.subarray(0, Math.min(into.byteLength, available)), position);
  }

  #tailFrom(position: number): ByteSource {
    this.#tail ??= new SuspendedTail({ ...this.#deps, writtenBytes: this.#writtenBytes, hash: this.#hash });
    return this.#tail.join(position);
  }

  async #endWriting(): Promise<void> {
    await this.#writes.end();
    this.#recent.clear();
    this.#writerIsDone = true;
    await this.#closeWhenUnused();
  }

  /** The file is closed by whoever uses it last: the writer or a reader. */
  async #closeWhenUnused(): Promise<void> {
    if (this.#writerIsDone && this.#readers === 0) await this.#deps.incoming[Symbol.asyncDispose]();
  }
}
