import { StoreWatch } from '../../src/mirror/concurrency/abortable-wait.ts';
import { Readable } from 'node:stream';
import { MemoryBudget } from '../../src/mirror/concurrency/memory-budget.ts';
import type { Download } from '../../src/mirror/downloads/download.ts';
import { Downloads } from '../../src/mirror/downloads/downloads.ts';
import type { Checkpoint } from '../../src/mirror/ports/blob-store.ts';
import type { ByteSource } from '../../src/mirror/ports/byte-source.ts';
import type { BlobSource, ContentQuestion } from '../../src/mirror/ports/shared-work.ts';
import type { OpenedBlob } from '../../src/mirror/ports/upstream.ts';
import { SourcedBlob } from '../../src/mirror/blobs/upstream-blobs.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { UpstreamError } from '../../src/oci/errors.ts';
import { parseRepository } from '../../src/oci/reference.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryIncoming } from './memory-incoming.ts';

export interface StartOptions {
  readonly digest: Digest;
  readonly size: number | undefined;
  readonly first: OpenedBlob;
  /** What is answered when it asks again; absent: no answer comes. */
  readonly next?: ((position: number) => OpenedBlob) | undefined;
  readonly incoming?: MemoryIncoming | undefined;
  /** Of what `incoming` holds from the start. */
  readonly checkpoint?: Checkpoint | undefined;
  readonly memory?: MemoryBudget | undefined;
  /** How many downloads without readers continue. */
  readonly maxAbandoned?: number;
}

/** Starts a download whose upstream is a script. Resolves when it has begun. */
export async function startDownload({ first, next, ...rest }: StartOptions) {
  const asked: number[] = [];
  let isFirst = true;
  const upstream: BlobSource = {
    open: async (_, __, { range }) => {
      const wasFirst = isFirst;
      isFirst = false;
      if (wasFirst) return first;
      const position = range?.start ?? 0;
      asked.push(position);
      if (!next) throw new UpstreamError('connect', 'refused');
      return next(position);
    },
    failedVerification: () => {},
  };
  return { ...(await startDownloadFrom([upstream], rest)), asked };
}

/** Starts a download from sources whose disk is memory. Resolves when it has begun. */
export async function startDownloadFrom(
  sources: readonly BlobSource[],
  {
    digest,
    size: promisedSize,
    checkpoint,
    incoming = new MemoryIncoming(),
    memory = new MemoryBudget({ maxBytes: 128 * 1024 * 1024 }),
    maxAbandoned = 1,
  }: Omit<StartOptions, 'first' | 'next'>,
) {
  const kept: number[] = [];
  const announced: ContentQuestion[] = [];
  const damages: unknown[] = [];
  let writtenBytes = 0;
  const reserve = async (bytes: number) => {
    let leftBytes = bytes;
    const wrote = (written: number) => {
      const counted = Math.min(written, leftBytes);
      leftBytes -= counted;
      writtenBytes += counted;
      return counted;
    };
    return {
      bytes,
      get leftBytes() {
        return leftBytes;
      },
      wrote,
      release: () => {},
    };
  };
  const clock = new ManualClock();
  const downloads = new Downloads({
    store: {
      open: async () => undefined,
      create: async () => incoming,
      takePartial: async () => checkpoint && { incoming, checkpoint },
    },
    space: { reserve, watch: new StoreWatch(), couldHold: async () => true },
    recording: {
      index: { recordContent: () => {} },
      links: {
        record: async (_, __, size) => {
          kept.push(size ?? 0);
        },
      },
      observer: { contentStored: () => {} },
      clock,
      unreadable: { forget: () => {} },
      shared: { stored: (question) => announced.push(question) },
    },
    clock,
    observer: {
      downloadStarted: () => {},
      downloadsWaiting: () => {},
      downloadEnded: () => {},
      internalError: ({ cause }) => damages.push(cause),
    },
    relaying: { memory, attemptsWithoutProgress: 3, wait: async () => {}, closeAfterMs: 60_000 },
    pace: { minBytesPerSecond: 0, windowMs: 1_000 },
    maxConcurrent: 4,
    maxWaiting: 4,
    maxAbandoned,
  });
  const repository = parseRepository('library/app');
  const repositoryId = { upstream: 'docker.io', repository };
  const blob = new SourcedBlob({ repositoryId, digest, sources, promisedSize });
  const order = { repositoryId, digest, blob, label: 'docker.io', maxConnections: 4, promisedSize };
  const run = downloads.start(order);
  const started = await downloads.wait(run, { signal: new AbortController().signal });
  if (started.kind !== 'download') throw new Error('the download did not begin');
  const download: Download = started.download;
  return { download, downloads, run, kept, announced, incoming, damages, writtenBytes: () => writtenBytes };
}

/** A body of the given pieces, of which an error is thrown and a promise waited for. */
export function body(...pieces: readonly (Uint8Array | Error | Promise<void>)[]): Readable {
  return Readable.from(
    (async function* () {
      for (const piece of pieces) {
        if (piece instanceof Error) throw piece;
        if (piece instanceof Promise) await piece;
        else yield Buffer.from(piece); // The download frees what it has written.
      }
    })(),
  );
}

/** Reads to the end. @throws what the source does. */
export async function readAll(source: ByteSource): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let position = 0; ; ) {
    const buffer = Buffer.alloc(100_000);
    const bytes = await source.read(buffer, position);
    if (bytes === 0) return Buffer.concat(pieces);
    pieces.push(buffer.subarray(0, bytes));
    position += bytes;
  }
}
