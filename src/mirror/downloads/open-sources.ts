import { OciError, UpstreamError } from '../../oci/errors.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { BlobStore, PartialDownload } from '../ports/blob-store.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { Run } from './run.ts';
import type { Ticket } from './scheduler.ts';

/** A source's answer. */
export interface Opening {
  readonly opened: OpenedBlob;
  /** Of the whole blob, if it is known. */
  readonly size: number | undefined;
  /** The partial download that the answer resumes. */
  readonly partial?: PartialDownload;
}

/**
 * Opens a blob at its sources when the scheduler admits it. A slot of the total is taken only when a source has answered, so that a silent
 * upstream holds none that another upstream needs.
 * @throws what the sources throw; the reason that the run ends for. A partial download stays for the next attempt.
 */
export async function openSources(
  run: Run,
  ticket: Ticket,
  { store }: { readonly store: Pick<BlobStore, 'takePartial'> },
): Promise<Opening> {
  await abortable(ticket.admitted, run.signal);
  run.admitted();
  const opening = await run.asking(() => openAtCheckpoint(run, store));
  try {
    await abortable(ticket.answered(), run.signal);
    return opening;
  } catch (cause) {
    opening.opened.body.destroy();
    if (opening.partial) await leaveAgain(opening.partial);
    throw cause;
  }
}

/** Opens the blob from its beginning, to serve it without storing it. */
export async function openWhole({ opened, partial }: Opening, { order, signal }: Run): Promise<OpenedBlob> {
  if (partial) await leaveAgain(partial);
  if (opened.offset === 0) return opened;
  opened.body.destroy();
  return order.blob.open(0, undefined, { signal });
}

/**
 * Asks for what a partial download lacks. Its last byte is asked for once more, since a range that begins at the very end is refused (RFC 9110
 * §15.5.17). If the sources have no such part, the partial download is dropped and the whole is asked for.
 */
async function openAtCheckpoint({ order, signal }: Run, store: Pick<BlobStore, 'takePartial'>): Promise<Opening> {
  const { digest, repositoryId, promisedSize, blob } = order;
  const partial = await store.takePartial(digest, repositoryId.upstream);
  const rest = partial && (await openRest(partial, { order, signal }));
  if (partial && rest) {
    const size = rest.size ?? promisedSize;
    if (partial.checkpoint.bytes <= (size ?? Infinity)) return { opened: rest, size, partial };
    rest.body.destroy();
  }
  await partial?.incoming[Symbol.asyncDispose]();
  const opened = await blob.open(0, undefined, { signal });
  return { opened, size: opened.size ?? promisedSize };
}

/** @returns undefined when the sources have no such part. */
async function openRest(
  partial: PartialDownload,
  { order, signal }: Pick<Run, 'order' | 'signal'>,
): Promise<OpenedBlob | undefined> {
  try {
    return await order.blob.open(partial.checkpoint.bytes - 1, undefined, { signal });
  } catch (cause) {
    if (hasNoSuchPart(cause)) return undefined;
    await leaveAgain(partial);
    throw cause;
  }
}

function hasNoSuchPart(cause: unknown): boolean {
  if (cause instanceof OciError) return cause.code === 'RANGE_INVALID';
  return cause instanceof UpstreamError && cause.reason === 'misbehaving';
}

/** Leaves a partial download as it was. */
async function leaveAgain({ incoming }: PartialDownload): Promise<void> {
  await incoming.leave();
  await incoming[Symbol.asyncDispose]();
}
