import { OciError, UpstreamError } from '../../oci/errors.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { BlobStore, InterruptedBlob } from '../ports/blob-store.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { Run } from './run.ts';
import type { Ticket } from './scheduler.ts';

/** A source's answer. */
export interface Opening {
  readonly opened: OpenedBlob;
  /** Of the whole blob, if it is known. */
  readonly size: number | undefined;
  /** The partial download that the answer resumes. */
  readonly interrupted?: InterruptedBlob;
}

/**
 * Opens a blob at its sources, when the scheduler admits it: from a source first, and only then is a place of the total taken, so that a silent
 * upstream holds none that another needs.
 * @throws what the sources throw; the reason that the run ends for. A partial download stays for the next attempt.
 */
export async function openSources(
  run: Run,
  ticket: Ticket,
  { store }: { readonly store: Pick<BlobStore, 'takeInterrupted'> },
): Promise<Opening> {
  await abortable(ticket.admitted, run.signal);
  run.admitted();
  const opening = await run.asking(() => openAtCheckpoint(run, store));
  try {
    await abortable(ticket.answered(), run.signal);
    return opening;
  } catch (cause) {
    opening.opened.body.destroy();
    if (opening.interrupted) await leaveAgain(opening.interrupted);
    throw cause;
  }
}

/** What is served without being stored is served from its beginning. */
export async function openWhole({ opened, interrupted }: Opening, { order, signal }: Run): Promise<OpenedBlob> {
  if (interrupted) await leaveAgain(interrupted);
  if (opened.offset === 0) return opened;
  opened.body.destroy();
  return order.blob.open(0, undefined, { signal });
}

/**
 * Asks for what a partial download lacks. Its last byte is asked for once more, since a range that begins at the very end is refused (RFC 9110
 * §15.5.17). If the sources have no such part, the partial download is dropped and the whole is asked for.
 */
async function openAtCheckpoint({ order, signal }: Run, store: Pick<BlobStore, 'takeInterrupted'>): Promise<Opening> {
  const { digest, repositoryId, promisedSize, blob } = order;
  const interrupted = await store.takeInterrupted(digest, repositoryId.upstream);
  const rest = interrupted && (await openRest(interrupted, { order, signal }));
  if (interrupted && rest) {
    const size = rest.size ?? promisedSize;
    if (interrupted.mark.bytes <= (size ?? Infinity)) return { opened: rest, size, interrupted };
    rest.body.destroy();
  }
  await interrupted?.incoming[Symbol.asyncDispose]();
  const opened = await blob.open(0, undefined, { signal });
  return { opened, size: opened.size ?? promisedSize };
}

/** @returns undefined when the sources have no such part. */
async function openRest(
  interrupted: InterruptedBlob,
  { order, signal }: Pick<Run, 'order' | 'signal'>,
): Promise<OpenedBlob | undefined> {
  try {
    return await order.blob.open(interrupted.mark.bytes - 1, undefined, { signal });
  } catch (cause) {
    if (hasNoSuchPart(cause)) return undefined;
    await leaveAgain(interrupted);
    throw cause;
  }
}

function hasNoSuchPart(cause: unknown): boolean {
  if (cause instanceof OciError) return cause.code === 'RANGE_INVALID';
  return cause instanceof UpstreamError && cause.trouble === 'misbehaving';
}

/** Leaves a partial download as it was. */
async function leaveAgain({ incoming }: InterruptedBlob): Promise<void> {
  await incoming.leave();
  await incoming[Symbol.asyncDispose]();
}
