import { createHash, type Hash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../../oci/digest.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { BlobStore, IncomingBlob, InterruptedBlob, Mark } from '../ports/blob-store.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';

export interface GoingOnOptions {
  readonly store: Pick<BlobStore, 'takeInterrupted'>;
  readonly digest: Digest;
  /** Its name: what another one left is not gone on with. */
  readonly upstream: string;
  /** The size by the descriptor that names the blob, where the upstream does not tell. */
  readonly promisedSize: number | undefined;
  readonly openAt: (position: number) => Promise<OpenedBlob>;
}

export interface Opening {
  readonly opened: OpenedBlob;
  readonly size: number | undefined;
  /** Where the answer is to be gone on with. */
  readonly interrupted?: InterruptedBlob;
}

const readBytes = 256 * 1024;

/**
 * Asks the upstream for a blob: for what is missing, where an interrupted download left something. The last byte of that is asked for
 * once more, since a range that begins at the very end is refused (RFC 9110 §15.5.17). What the upstream has no such part of is
 * given up, and the whole asked for.
 * @throws as `openAt`; then what was left stays for the next attempt.
 */
export async function openWhereItStopped(options: GoingOnOptions): Promise<Opening> {
  const { store, digest, upstream, promisedSize, openAt } = options;
  const interrupted = await store.takeInterrupted(digest, upstream);
  const rest = interrupted && (await openRest(interrupted, openAt));
  if (interrupted && rest) {
    const size = rest.size ?? promisedSize;
    if (interrupted.mark.bytes <= (size ?? Infinity)) return { opened: rest, size, interrupted };
    rest.body.destroy();
  }
  await interrupted?.incoming[Symbol.asyncDispose]();
  const opened = await openAt(0);
  return { opened, size: opened.size ?? promisedSize };
}

/** Puts back what an interrupted download left, as it was. */
export async function giveBack({ incoming }: InterruptedBlob): Promise<void> {
  await incoming.leave();
  await incoming[Symbol.asyncDispose]();
}

/** @returns undefined when the upstream has no such part. */
async function openRest(
  interrupted: InterruptedBlob,
  openAt: GoingOnOptions['openAt'],
): Promise<OpenedBlob | undefined> {
  try {
    return await openAt(interrupted.mark.bytes - 1);
  } catch (cause) {
    if (hasNoSuchPart(cause)) return undefined;
    await giveBack(interrupted);
    throw cause;
  }
}

function hasNoSuchPart(cause: unknown): boolean {
  if (cause instanceof OciError) return cause.code === 'RANGE_INVALID';
  return cause instanceof UpstreamError && cause.trouble === 'misbehaving';
}

/**
 * Reads back what is marked, and hashes it.
 * @returns the hash that was fed with it; undefined once `signal` aborts.
 * @throws Error when it is not what the mark says, or cannot be read.
 */
export async function readBack(
  incoming: Pick<IncomingBlob, 'read'>,
  mark: Mark,
  { signal }: Waiting,
): Promise<Hash | undefined> {
  const hash = createHash(algorithmOf(mark.digest));
  const buffer = Buffer.allocUnsafe(readBytes);
  for (let position = 0; position < mark.bytes; ) {
    if (signal.aborted) return undefined;
    const bytes = await incoming.read(buffer.subarray(0, Math.min(readBytes, mark.bytes - position)), position);
    if (bytes === 0) throw new Error(`what an interrupted download left ends at ${position} of ${mark.bytes} bytes`);
    hash.update(buffer.subarray(0, bytes));
    position += bytes;
  }
  const actual = digestFrom(hash.copy(), algorithmOf(mark.digest));
  if (actual !== mark.digest) throw new Error(`what an interrupted download left is ${actual}, and was ${mark.digest}`);
  return hash;
}
