import { Readable } from 'node:stream';
import { MemoryBudget } from '../../src/mirror/concurrency/memory-budget.ts';
import { Download } from '../../src/mirror/downloads/download.ts';
import type { Mark } from '../../src/mirror/ports/blob-store.ts';
import type { ByteSource } from '../../src/mirror/ports/byte-source.ts';
import type { OpenedBlob } from '../../src/mirror/ports/upstream.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { UpstreamError } from '../../src/oci/errors.ts';
import { MemoryIncoming } from './memory-incoming.ts';

export interface StartOptions {
  readonly digest: Digest;
  readonly size: number | undefined;
  readonly first: OpenedBlob;
  /** What is answered when it asks again; absent: no answer comes. */
  readonly next?: ((position: number) => OpenedBlob) | undefined;
  readonly incoming?: MemoryIncoming | undefined;
  /** Of what `incoming` holds from the start. */
  readonly mark?: Mark | undefined;
  readonly memory?: MemoryBudget | undefined;
  /** Called before anything is written. */
  readonly makeRoom?: (bytes: number) => Promise<void>;
}

/** Starts a download whose upstream is a script, and whose disk is memory. */
export function startDownload({
  first,
  next,
  incoming = new MemoryIncoming(),
  memory = new MemoryBudget({ maxBytes: 128 * 1024 * 1024 }),
  makeRoom = async () => {},
  ...rest
}: StartOptions) {
  const asked: number[] = [];
  const kept: number[] = [];
  const damages: unknown[] = [];
  let writtenBytes = 0;
  let abandoned = 0;
  const download = new Download({
    ...rest,
    opened: first,
    makeRoom,
    letGoAfterMs: 60_000,
    open: async (position) => {
      asked.push(position);
      if (!next) throw new UpstreamError('connect', 'refused');
      return next(position);
    },
    incoming,
    keep: async ({ size }) => {
      kept.push(size);
    },
    onAbandoned: () => {
      abandoned += 1;
    },
    onWritten: (bytes) => {
      writtenBytes += bytes;
    },
    onDamaged: (cause) => damages.push(cause),
    memory,
    attemptsWithoutProgress: 3,
    wait: async () => {},
  });
  return {
    download,
    asked,
    kept,
    incoming,
    damages,
    abandoned: () => abandoned,
    writtenBytes: () => writtenBytes,
  };
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
