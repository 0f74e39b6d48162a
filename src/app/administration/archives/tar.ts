import { once } from 'node:events';
import { Readable } from 'node:stream';
import { extract, type Header, pack, type Pack } from 'tar-stream';
import { ArchiveRefused } from '../../../mirror/administration/archives/store-blobs.ts';
import type { ArchivedFile } from '../../../mirror/administration/archives/export-images.ts';
import type { ArchiveEntry } from '../../../mirror/administration/archives/import-images.ts';
import { RateWatch } from '../../../mirror/concurrency/abortable-wait.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';

/** The least that an archive must move, in the time in which this process waits for the other side. */
export interface LeastRate {
  readonly bytes: number;
  readonly windowMs: number;
}

/** 17 KiB/s: one that takes days holds a place that others need. */
export const leastRate: LeastRate = { bytes: 5 * 1024 * 1024, windowMs: 5 * 60_000 };

export interface PackOptions extends Waiting {
  /** Called once, when nothing is read any more. */
  readonly onEnd: (failure?: unknown) => void;
  readonly least: LeastRate;
}

/** Packs files into a tar, as fast as it is read. Destroying the stream ends it; a reader that is too slow does so as well. */
export function tarOf(files: AsyncIterable<ArchivedFile>, { signal, onEnd, least }: PackOptions): Readable {
  const archive = pack();
  const leaving = new AbortController();
  const stream = Readable.from(archive, { objectMode: false });
  stream.once('close', () => leaving.abort(new Error('the archive is not read any more')));
  const ended = AbortSignal.any([signal, leaving.signal]);
  const rate = rateOf(least, () => leaving.abort(new TooSlow(`the reader takes ${slowerThan(least)}`)));
  void fill(archive, files, { signal: ended, rate }).then(
    () => onEnd(),
    (cause: unknown) => {
      rate.pauses();
      onEnd(leaving.signal.aborted || signal.aborted ? undefined : cause);
      stream.destroy();
      archive.destroy(cause instanceof Error ? cause : new Error(String(cause)));
    },
  );
  stream.on('error', () => {}); // It is told by `onEnd`.
  return stream;
}

async function fill(
  archive: Pack,
  files: AsyncIterable<ArchivedFile>,
  { rate, ...waiting }: Waiting & { readonly rate: RateWatch },
): Promise<void> {
  const mtime = new Date(0); // The same files make the same bytes.
  for await (const { name, size, body } of files) {
    const entry = archive.entry({ name, size, mode: 0o644, mtime, type: 'file' });
    entry.on('error', () => {}); // When the archive is destroyed.
    for await (const piece of body) {
      waiting.signal.throwIfAborted();
      const isFull = !entry.write(piece);
      rate.received(piece.byteLength);
      if (!isFull) continue;
      rate.waits();
      await once(entry, 'drain', waiting);
      rate.pauses();
    }
    const closed = once(entry, 'close', waiting);
    entry.end(undefined);
    rate.waits();
    await closed;
    rate.pauses();
  }
  archive.finalize();
}

export interface UnpackOptions extends Waiting {
  /** How long the next bytes may take. */
  readonly idleMs: number;
  readonly least: LeastRate;
}

function rateOf({ bytes, windowMs }: LeastRate, onSlow: () => void): RateWatch {
  return new RateWatch({ leastBytes: bytes, windowMs, onSlow });
}

function slowerThan({ bytes, windowMs }: LeastRate): string {
  return `less than ${bytes} bytes in ${windowMs / 1_000} s`;
}

/** What arrives took too long. */
export class TooSlow extends Error {
  override readonly name = 'TooSlow';
}

/** What was sent is not read further: an answer to a sender that goes on sending may be lost. */
const mostDrainedBytes = 256 * 1024 * 1024;
const drainsWithinMs = 5_000;

/** The headers before a file are read at once, and the names in those that count for all files are copied for each of them. */
const mostHeaderBytes = 256 * 1024;
const bytesAtOnce = 64 * 1024;

/** A tar that arrives. Its entries are to be read in order, each body before the next entry. */
export class ArrivingTar {
  readonly #chunks: AsyncIterator<unknown, unknown>;
  readonly #options: UnpackOptions;
  readonly #slow = new AbortController();
  readonly #rate: RateWatch;
  /** What may arrive before the next file begins. */
  #headerBytesLeft = mostHeaderBytes;

  constructor(incoming: Readable, options: UnpackOptions) {
    const { least } = options;
    this.#rate = rateOf(least, () => this.#slow.abort(new TooSlow(`the sender sends ${slowerThan(least)}`)));
    this.#chunks = incoming.iterator({ destroyOnReturn: false });
    this.#options = options;
  }

  /** @throws ArchiveRefused if it is no tar, or ends too early; TooSlow; the signal's reason. */
  async *entries(): AsyncGenerator<ArchiveEntry> {
    const archive = extract();
    const ended = new AbortController();
    let failure: Error | undefined;
    let isOfTheTar = true;
    const feeding = this.#feed(archive, ended.signal).catch((cause: unknown) => {
      failure = cause instanceof Error ? cause : new Error('the archive did not arrive', { cause });
      archive.destroy(failure);
    });
    try {
      for await (const entry of archive) {
        isOfTheTar = false;
        this.#headerBytesLeft = Infinity;
        const told = toldIn(entry.header);
        // A folder may have a size (POSIX, "ustar Interchange Format"), and has no bytes: its stream would never end.
        yield { ...told, body: bytesOf(told.type === 'directory' ? [] : entry, () => failure) };
        isOfTheTar = true;
        this.#headerBytesLeft = mostHeaderBytes;
      }
    } catch (cause) {
      if (failure !== undefined) throw failure;
      if (!isOfTheTar) throw cause;
      throw brokenTar(cause);
    } finally {
      ended.abort();
      archive.destroy(new Error('the archive is not read any more'));
      await feeding;
    }
    if (failure !== undefined) throw failure;
  }

  /** Reads what still arrives, for a while. */
  async drain(): Promise<void> {
    const untilMs = performance.now() + drainsWithinMs;
    let bytes = 0;
    try {
      while (bytes < mostDrainedBytes) {
        const chunk = await this.#next(new AbortController().signal, untilMs - performance.now());
        if (chunk === undefined) return;
        bytes += chunk.byteLength;
      }
    } catch {
      // Its sender has left, or sends nothing.
    }
  }

  async #feed(archive: ReturnType<typeof extract>, ended: AbortSignal): Promise<void> {
    let resume = () => {};
    for (const event of ['drain', 'close', 'error']) archive.on(event, () => resume());
    for (;;) {
      const chunk = await this.#next(ended, this.#options.idleMs);
      if (chunk === undefined) break;
      for (let at = 0; at < chunk.byteLength; at += bytesAtOnce) {
        if (archive.destroyed) return;
        const piece = chunk.subarray(at, at + bytesAtOnce);
        this.#headerBytesLeft -= piece.byteLength;
        if (this.#headerBytesLeft < 0)
          throw new ArchiveRefused(`more than ${mostHeaderBytes} bytes come before a file`);
        const drained = new Promise<void>((resolve) => (resume = resolve));
        if (!archive.write(piece)) await drained;
      }
    }
    archive.end(undefined);
  }

  /** @returns undefined at the end. */
  async #next(ended: AbortSignal, withinMs: number): Promise<Uint8Array | undefined> {
    const signal = AbortSignal.any([ended, this.#options.signal, this.#slow.signal]);
    signal.throwIfAborted();
    const { promise: stopped, reject } = Promise.withResolvers<never>();
    const stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    const timer = setTimeout(() => reject(new TooSlow(`nothing arrived for ${this.#options.idleMs} ms`)), withinMs);
    this.#rate.waits();
    try {
      const { done, value } = await Promise.race([this.#chunks.next(), stopped]);
      if (done === true) return undefined;
      if (value instanceof Uint8Array) {
        this.#rate.received(value.byteLength);
        return value;
      }
      throw new ArchiveRefused('the archive is no sequence of bytes');
    } finally {
      this.#rate.pauses();
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
  }
}

function toldIn({ name, type, size }: Header): Pick<ArchiveEntry, 'name' | 'type' | 'size'> {
  return { name, type: type ?? 'file', size: size ?? 0 };
}

async function* bytesOf(
  entry: AsyncIterable<unknown> | Iterable<unknown>,
  failureNow: () => Error | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of entry) if (piece instanceof Uint8Array) yield piece;
  } catch (cause) {
    throw failureNow() ?? brokenTar(cause);
  }
}

function brokenTar(cause: unknown): ArchiveRefused {
  return new ArchiveRefused('this is no tar, or ends too early', { cause });
}
