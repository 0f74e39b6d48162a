import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { algorithmOf, type Digest, digestFrom } from '../oci/digest.ts';
import { UpstreamError } from '../oci/errors.ts';
import type { ByteSource, DownloadResult, IncomingBlob } from './ports.ts';

/** What is gathered before it is written: one writev of about this size costs the least. */
const writeBytes = 1024 * 1024;
/** Above this the upstream is asked to wait for the disk. */
const maxQueuedBytes = 4 * writeBytes;
/** What has waited this long is written though it is little, so that readers of a slow upstream see it. */
const maxWriteDelayMs = 5;
/** How much of a blob's end no reader gets before the whole is verified. */
export const heldBackBytes = 64 * 1024;

export interface DownloadDeps {
  readonly digest: Digest;
  /** What the upstream or a descriptor promised; undefined when nobody did. */
  readonly size: number | undefined;
  /** The upstream's body. The download owns it. */
  readonly body: Readable;
  /** Where it is written. The download owns it. */
  readonly incoming: IncomingBlob;
  /** Makes the verified blob visible: commit and record. */
  readonly keep: (verified: { readonly size: number }) => Promise<void>;
  /** Called when the last reader has left a download that still runs. */
  readonly onAbandoned: () => void;
  /** Called with every piece written, before readers see it. */
  readonly onWritten?: (bytes: number) => void;
}

export interface DownloadEnd {
  readonly result: DownloadResult;
  readonly bytes: number;
  readonly cause?: unknown;
}

/**
 * One running download: one writer, many readers.
 *
 *     upstream ──▶ hash ──▶ queue ──writev──▶ incoming/<id>  ┄┄read by position┄┄▶ reader
 *                                            0 ……… written                  └┄┄┄▶ reader
 *                                                    └ minus the held-back end, until size and digest are verified
 *
 * The writer never waits for a reader, and a reader sees the file only, at its own pace. It goes on when its readers have left.
 *
 *     running ──▶ verified ──▶ kept (or not: a full disk takes nothing from the readers)
 *        └──────▶ failed: every reader's next read rejects, so no client ends up with a complete response
 */
export class Download {
  readonly digest: Digest;
  readonly size: number | undefined;
  /** Resolves when nothing more will happen to the store: kept, or failed. Never rejects. */
  readonly ended: Promise<DownloadEnd>;
  readonly #deps: DownloadDeps;
  readonly #hash;
  readonly #verified = Promise.withResolvers<void>();
  #state: 'running' | 'verified' | 'failed' = 'running';
  #failure: unknown;
  #received = 0;
  #written = 0;
  #readers = 0;
  #sleepers: (() => void)[] = [];
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #wakeWriter: (() => void) | undefined;
  #upstreamEnded = false;
  #writerIsDone = false;

  constructor(deps: DownloadDeps) {
    this.#deps = deps;
    this.digest = deps.digest;
    this.size = deps.size;
    this.#hash = createHash(algorithmOf(deps.digest));
    this.#verified.promise.catch(() => {}); // Whoever waits for it is told; nobody has to wait.
    this.ended = this.#run();
  }

  get hasFailed(): boolean {
    return this.#state === 'failed';
  }

  get isAbandoned(): boolean {
    return this.#state === 'running' && this.#readers === 0;
  }

  /** How far the writer is: a range far ahead of it may be cheaper to ask for than to wait for. */
  get writtenBytes(): number {
    return this.#written;
  }

  /** Resolves when size and digest are right; rejects when the download fails. */
  get verified(): Promise<void> {
    return this.#verified.promise;
  }

  /** A reader of its own, at its own position. It must be disposed. */
  join(): ByteSource {
    this.#readers += 1;
    let isOpen = true;
    let wake: (() => void) | undefined;
    return {
      read: async (into, position) => {
        while (isOpen) {
          if (this.#state === 'failed') throw this.#failure;
          const available = this.#visibleBytes() - position;
          if (available > 0)
            return this.#deps.incoming.read(into.subarray(0, Math.min(into.byteLength, available)), position);
          if (this.#state === 'verified') return 0;
          await new Promise<void>((resolve) => {
            wake = resolve;
            this.#sleepers.push(resolve);
          });
        }
        throw new Error('the reader has left');
      },
      [Symbol.asyncDispose]: async () => {
        if (!isOpen) return;
        isOpen = false;
        wake?.();
        this.#readers -= 1;
        if (this.isAbandoned) this.#deps.onAbandoned();
        await this.#closeWhenUnused();
      },
    };
  }

  /** Ends a download nobody waits for any more. */
  abort(reason: Error): void {
    this.#deps.body.destroy(reason);
  }

  async #run(): Promise<DownloadEnd> {
    const { body } = this.#deps;
    body.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    body.on('end', () => this.#endOfUpstream());
    body.on('error', (cause) => this.#fail(cause));
    body.on('close', () => this.#endOfUpstream());
    try {
      await this.#writeAll();
      this.#verify();
      return await this.#keep();
    } catch (cause) {
      this.#fail(cause);
      body.destroy();
      return { result: resultOf(this.#failure), bytes: this.#received, cause: this.#failure };
    } finally {
      this.#writerIsDone = true;
      await this.#closeWhenUnused();
    }
  }

  #receive(chunk: Uint8Array): void {
    if (this.#state !== 'running') return;
    this.#received += chunk.byteLength;
    if (this.size !== undefined && this.#received > this.size) {
      this.#fail(new UpstreamError('misbehaving', `the upstream sent more than the ${this.size} bytes it promised`));
      return;
    }
    this.#hash.update(chunk);
    const isFirst = this.#queue.push(chunk) === 1;
    this.#queuedBytes += chunk.byteLength;
    if (isFirst || this.#queuedBytes >= writeBytes) this.#wakeWriter?.();
    if (this.#queuedBytes >= maxQueuedBytes) this.#deps.body.pause();
  }

  #endOfUpstream(): void {
    this.#upstreamEnded = true;
    this.#wakeWriter?.();
  }

  async #writeAll(): Promise<void> {
    while (this.#state === 'running') {
      if (this.#queuedBytes < writeBytes && !this.#upstreamEnded) await this.#moreToWrite();
      if (this.#state !== 'running') break;
      if (this.#queuedBytes === 0 && this.#upstreamEnded) return;
      if (this.#queuedBytes > 0) await this.#writeQueued();
    }
    throw this.#failure;
  }

  /** Waits for a full write or for the end; once something has come, for a moment only. */
  async #moreToWrite(): Promise<void> {
    if (this.#queuedBytes === 0) await this.#woken();
    if (this.#queuedBytes >= writeBytes || this.#upstreamEnded || this.#state !== 'running') return;
    const timer = setTimeout(() => this.#wakeWriter?.(), maxWriteDelayMs);
    await this.#woken();
    clearTimeout(timer);
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeWriter = resolve;
    });
  }

  async #writeQueued(): Promise<void> {
    const chunks = this.#queue;
    const bytes = this.#queuedBytes;
    this.#queue = [];
    this.#queuedBytes = 0;
    await this.#deps.incoming.append(chunks);
    this.#deps.onWritten?.(bytes);
    this.#written += bytes;
    this.#deps.body.resume();
    this.#wakeReaders();
  }

  /** @throws UpstreamError misbehaving when the bytes are not what the digest names. */
  #verify(): void {
    if (this.size !== undefined && this.#received !== this.size) {
      throw new UpstreamError('misbehaving', `the upstream sent ${this.#received} of ${this.size} bytes`);
    }
    const actual = digestFrom(this.#hash, algorithmOf(this.digest));
    if (actual !== this.digest) throw new DigestMismatch(this.digest, actual);
    this.#state = 'verified';
    this.#verified.resolve();
    this.#wakeReaders();
  }

  /** The readers have all they need: whatever fails from here on costs the next pull, not this one. */
  async #keep(): Promise<DownloadEnd> {
    const bytes = this.#received;
    try {
      await this.#deps.keep({ size: bytes });
      return { result: 'ok', bytes };
    } catch (cause) {
      return { result: 'disk_error', bytes, cause };
    }
  }

  #fail(cause: unknown): void {
    if (this.#state !== 'running') return;
    this.#state = 'failed';
    this.#failure = cause;
    this.#verified.reject(cause);
    this.#wakeWriter?.();
    this.#wakeReaders();
  }

  #visibleBytes(): number {
    if (this.#state === 'verified') return this.#written;
    const end = this.size ?? this.#received;
    return Math.min(this.#written, end - heldBackBytes);
  }

  #wakeReaders(): void {
    const sleepers = this.#sleepers;
    this.#sleepers = [];
    for (const wake of sleepers) wake();
  }

  /** The file is closed by whoever uses it last: the writer or a reader. */
  async #closeWhenUnused(): Promise<void> {
    if (this.#writerIsDone && this.#readers === 0) await this.#deps.incoming[Symbol.asyncDispose]();
  }
}

/** The upstream sent other bytes than the digest names. Says who was asked for what. */
export class DigestMismatch extends UpstreamError {
  constructor(expected: Digest, actual: Digest) {
    super('misbehaving', `the upstream sent ${actual} where ${expected} was asked for`);
  }
}

function resultOf(cause: unknown): DownloadResult {
  if (cause instanceof DigestMismatch) return 'digest_mismatch';
  if (!(cause instanceof UpstreamError)) return 'disk_error';
  if (cause.trouble === 'busy') return 'aborted';
  return cause.trouble === 'misbehaving' ? 'short' : 'upstream_error';
}
