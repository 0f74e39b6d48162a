import { finished, type Readable } from 'node:stream';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { RemoteBlob } from './remote-blob.ts';

export interface ResumeRules {
  /** How many times in a row a transfer is resumed without receiving a byte. */
  readonly attemptsWithoutProgress: number;
  /** Waits before another attempt; the signal ends the wait early. */
  readonly wait: (ms: number, waiting: Waiting) => Promise<unknown>;
}

export interface PiecesOptions extends ResumeRules, Waiting {
  /** The position of the first byte wanted. */
  readonly from: number;
  /** An answer that is already open. */
  readonly first?: OpenedBlob | undefined;
  readonly blob: Pick<RemoteBlob, 'open' | 'skipSource' | 'received'>;
  /** Of the whole blob, where it is known. */
  readonly size: number | undefined;
  /** The end position, exclusive; absent: to the end of the blob. */
  readonly until?: number | undefined;
  /** How many bytes of pieces may be taken together now, if they are there: at least one piece is. Absent: one piece. */
  readonly togetherBytes?: () => number;
}

/**
 * The bytes of a blob from a position on, over as many answers as it takes: a transfer that breaks or stalls is resumed where it stopped, by
 * the next source or, if there is none, by the same. A part must fit exactly; of a whole blob the bytes that came before are skipped. ETags
 * are not compared, since they differ between the hops of a CDN: the digest alone decides. A source whose answer does not fit, or has more bytes
 * than were promised, is left as one that breaks off; if it is the last one, the transfer fails.
 * @returns lists of pieces, none of them empty: to take pieces together saves steps of async generators (bench/README.md has figures).
 * @throws UpstreamError when there is no progress any more, or what comes does not fit; OciError when the upstream says no.
 */
export async function* resumedPieces(options: PiecesOptions): AsyncGenerator<readonly Uint8Array[], void> {
  const { from, blob, size, until, signal, attemptsWithoutProgress, wait } = options;
  const end = until ?? size;
  let opened = options.first;
  let position = from;
  let failures = 0;
  for (;;) {
    try {
      opened ??= await blob.open(position, until === undefined ? undefined : until - 1, { signal });
      for await (const received of piecesFrom(opened, position, options)) {
        const { pieces, next, promised } = fitting(received, position, options);
        position = next;
        failures = 0;
        if (pieces.length > 0) yield pieces;
        if (promised !== undefined) throw new TooLong(promised);
        if (position === until) return;
      }
      if (end === undefined || position === end) return;
      throw new UpstreamError('connect', `the upstream sent bytes up to ${position} of ${end}`);
    } catch (cause) {
      const isTooLong = cause instanceof TooLong;
      if (!isTooLong && isWhole({ position, end, from, cause })) return;
      if (signal.aborted) throw unlessShorter(cause);
      const isLeft = blob.skipSource(opened);
      opened = undefined;
      if (isLeft && isTooLong && position === end) return;
      if (isLeft) continue;
      failures += 1;
      if (!isWorthAnotherTry(cause) || failures > attemptsWithoutProgress) throw unlessShorter(cause);
      await wait(Math.max(pauseMs(failures), wishedMs(cause)), { signal });
    }
  }
}

/** Whether another attempt may succeed a moment later: not after wrong bytes or a refusal. Pure. */
function isWorthAnotherTry(cause: unknown): boolean {
  if (!(cause instanceof UpstreamError)) return false;
  switch (cause.reason) {
    case 'connect':
    case 'dns':
    case 'timeout':
    case 'unavailable':
    case 'overloaded':
    case 'busy': // Others hold all connections: not for long.
      return true;
    case 'tls':
    case 'refused':
    case 'misbehaving':
      return false;
  }
}

/** None after progress, then doubling from 200 ms, with jitter, so that many mirrors do not retry at the same time. */
function pauseMs(failures: number): number {
  return failures === 1 ? 0 : 100 * 2 ** (failures - 1) * (0.5 + Math.random());
}

/** The wait that the upstream, its circuit breaker or the queue for its connections asks for, at most half a minute. */
function wishedMs(cause: unknown): number {
  if (!(cause instanceof UpstreamError)) return 0;
  const seconds = cause.retryAfterSeconds ?? (cause.reason === 'busy' ? 1 : 0);
  return Math.min(seconds * 1_000, 30_000);
}

/** @returns the pieces up to the end that is wanted, the position after them, and the promised size if there are more bytes. Pure. */
function fitting(
  received: readonly Uint8Array[],
  position: number,
  { until, size }: Pick<PiecesOptions, 'until' | 'size'>,
): { readonly pieces: readonly Uint8Array[]; readonly next: number; readonly promised?: number } {
  const pieces: Uint8Array[] = [];
  let next = position;
  for (const all of received) {
    if (next === until) break;
    const piece = until === undefined ? all : all.subarray(0, until - next);
    if (size !== undefined && next + piece.byteLength > size) return { pieces, next, promised: size };
    next += piece.byteLength;
    pieces.push(piece);
  }
  return { pieces, next };
}

async function* piecesFrom(
  opened: OpenedBlob,
  position: number,
  { size, signal, blob, togetherBytes = () => 1 }: PiecesOptions,
): AsyncGenerator<readonly Uint8Array[], void> {
  const { body, offset, size: claimedSize } = opened;
  const cut = () => body.destroy(signal.reason instanceof Error ? signal.reason : new Error('no longer wanted'));
  signal.addEventListener('abort', cut, { once: true });
  try {
    signal.throwIfAborted();
    if (offset > position || (size !== undefined && claimedSize !== undefined && claimedSize !== size))
      throw doesNotFit();
    let toSkip = position - offset;
    for await (const { pieces, bytes } of taken(body, togetherBytes)) {
      blob.received(opened, bytes);
      const rest = without(toSkip, pieces);
      toSkip -= Math.min(toSkip, bytes);
      if (rest.length > 0) yield rest;
    }
  } finally {
    signal.removeEventListener('abort', cut);
    body.destroy();
  }
}

/** `pieces` without their first `bytes` bytes. Pure. */
function without(bytes: number, pieces: readonly Uint8Array[]): readonly Uint8Array[] {
  if (bytes === 0) return pieces;
  let toSkip = bytes;
  return pieces.flatMap((piece) => {
    const skipped = Math.min(toSkip, piece.byteLength);
    toSkip -= skipped;
    return skipped < piece.byteLength ? [piece.subarray(skipped)] : [];
  });
}

interface Taken {
  readonly pieces: readonly Uint8Array[];
  readonly bytes: number;
}

/** As the iterator of a stream, but with all pieces that are there, up to `togetherBytes`, in one step. The caller must destroy the body. */
async function* taken(body: Readable, togetherBytes: () => number): AsyncGenerator<Taken, void> {
  let end: { readonly failure: Error | null | undefined } | undefined;
  let wake = (): void => {};
  body.on('readable', () => wake());
  finished(body, { writable: false }, (failure) => {
    end = { failure };
    wake();
  });
  for (;;) {
    const { pieces, bytes } = takenNow(body, togetherBytes());
    if (bytes > 0) yield { pieces, bytes };
    else if (!end) await new Promise<void>((resolve) => (wake = resolve));
    else if (end.failure) throw end.failure;
    else return;
  }
}

function takenNow(body: Readable, togetherBytes: number): Taken {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  while (bytes < togetherBytes && !body.destroyed) {
    const piece: unknown = body.read();
    if (!(piece instanceof Uint8Array)) break;
    pieces.push(piece);
    bytes += piece.byteLength;
  }
  return { pieces, bytes };
}

/**
 * Whether the blob may be complete although the answer broke off: an upstream that does not tell the length may have nothing more. The
 * digest decides. Pure.
 */
function isWhole({
  position,
  end,
  from,
  cause,
}: {
  position: number;
  end: number | undefined;
  from: number;
  cause: unknown;
}): boolean {
  return end === undefined ? position > from && isNothingBehind(cause) : position === end;
}

function isNothingBehind(cause: unknown): boolean {
  return cause instanceof OciError && cause.code === 'RANGE_INVALID';
}

/** A blob that ends before its promised size is the upstream's fault, and not that of a client's range. */
function unlessShorter(cause: unknown): unknown {
  if (!isNothingBehind(cause)) return cause;
  return new UpstreamError('misbehaving', 'the blob at the upstream ends before its promised size', { cause });
}

class TooLong extends UpstreamError {
  constructor(size: number) {
    super('misbehaving', `the upstream sent more than the ${size} bytes it promised`);
  }
}

function doesNotFit(): UpstreamError {
  return new UpstreamError('misbehaving', 'the upstream sent a range that does not match the request');
}
