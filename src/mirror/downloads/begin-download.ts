import { OciError, UpstreamError } from '../../oci/errors.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { BlobStore, PartialDownload, IncomingBlob, Checkpoint } from '../ports/blob-store.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { Run, DownloadOrder } from './run.ts';
import type { Ticket } from './scheduler.ts';
import type { Reservation, Space } from '../eviction/space.ts';
import type { Observer } from '../ports/observer.ts';
import { NoRoom } from '../transfers/transfer-errors.ts';

/** A source's answer. */
export interface Opening {
  readonly opened: OpenedBlob;
  /** Of the whole blob, if it is known. */
  readonly size: number | undefined;
  /** The partial download that the answer resumes. */
  readonly partial?: PartialDownload;
}

export interface SourcesDeps {
  readonly store: Pick<BlobStore, 'takePartial'>;
  readonly space: Pick<Space, 'watch'>;
  readonly observer: Pick<Observer, 'internalError'>;
}

/**
 * Opens a blob at its sources when the scheduler admits it. A slot of the total is taken only when a source has answered, so that a silent
 * upstream holds none that another upstream needs.
 * @throws what the sources throw; the reason that the run ends for. A partial download stays for the next attempt.
 */
export async function openSources(run: Run, ticket: Ticket, deps: SourcesDeps): Promise<Opening> {
  await abortable(ticket.admitted, run.signal);
  run.admitted();
  const opening = await run.asking(() => openAtCheckpoint(run, deps));
  try {
    await abortable(ticket.answered(), run.signal);
    return opening;
  } catch (cause) {
    opening.opened.body.destroy();
    if (opening.partial) await leaveAgain(opening.partial, deps);
    throw cause;
  }
}

/** Opens the blob from its beginning, to serve it without storing it. */
export async function openWhole(
  { opened, partial }: Opening,
  { order, signal }: Run,
  deps: SourcesDeps,
): Promise<OpenedBlob> {
  if (partial) await leaveAgain(partial, deps);
  if (opened.offset === 0) return opened;
  opened.body.destroy();
  return order.blob.open(0, undefined, { signal });
}

/**
 * Asks for what a partial download lacks. Its last byte is asked for once more, since a range that begins at the very end is refused (RFC 9110
 * §15.5.17). If the sources have no such part, the partial download is dropped and the whole is asked for.
 */
async function openAtCheckpoint({ order, signal }: Run, deps: SourcesDeps): Promise<Opening> {
  const { promisedSize, blob } = order;
  const partial = await takePartial(order, deps);
  const rest = partial && (await openRest(partial, { order, signal }, deps));
  if (partial && rest) return { opened: rest, size: rest.size ?? promisedSize, partial };
  if (partial) await drop(partial, deps);
  const opened = await blob.open(0, undefined, { signal });
  return { opened, size: opened.size ?? promisedSize };
}

/** @returns undefined if there is none, or the store hangs. A partial download that comes too late is left again. */
async function takePartial(
  { digest, repositoryId }: DownloadOrder,
  { store, space: { watch }, observer }: SourcesDeps,
): Promise<PartialDownload | undefined> {
  if (watch.hangs) return undefined;
  const undo = (late: PartialDownload | undefined) => late && leave(late);
  return watch.inTime(store.takePartial(digest, repositoryId.upstream), undo).catch((cause: unknown) => {
    observer.internalError({ part: 'blob store', cause });
    return undefined;
  });
}

/** @returns undefined when the sources have no such part. */
async function openRest(
  partial: PartialDownload,
  { order, signal }: Pick<Run, 'order' | 'signal'>,
  deps: SourcesDeps,
): Promise<OpenedBlob | undefined> {
  const { bytes } = partial.checkpoint;
  try {
    for (;;) {
      const rest = await order.blob.open(bytes - 1, undefined, { signal });
      if (bytes <= (rest.size ?? order.promisedSize ?? Infinity)) return rest;
      rest.body.destroy();
      if (!order.blob.skipSource(rest)) return undefined;
    }
  } catch (cause) {
    if (hasNoSuchPart(cause)) return undefined;
    await leaveAgain(partial, deps);
    throw cause;
  }
}

function hasNoSuchPart(cause: unknown): boolean {
  if (cause instanceof OciError) return cause.code === 'RANGE_INVALID';
  return cause instanceof UpstreamError && cause.reason === 'misbehaving';
}

/** Leaves a partial download as it was: while the store hangs, later. */
function leaveAgain(partial: PartialDownload, { space, observer }: SourcesDeps): Promise<void> {
  return space.watch.unlessLate(leave(partial), (cause) => observer.internalError({ part: 'blob store', cause }));
}

function drop({ incoming }: PartialDownload, { space, observer }: SourcesDeps): Promise<void> {
  const report = (cause: unknown) => observer.internalError({ part: 'blob store', cause });
  return space.watch.unlessLate(incoming[Symbol.asyncDispose](), report);
}

async function leave({ incoming }: PartialDownload): Promise<void> {
  await incoming.leave();
  await incoming[Symbol.asyncDispose]();
}

export type ReservableSpace = Pick<Space, 'reserve' | 'couldHold' | 'watch'>;

/** The file and the reserved space of a download. */
export interface ReservedSpace {
  readonly room: Room;
  readonly incoming: IncomingBlob;
  /** The checkpoint of what `incoming` holds already. */
  readonly checkpoint?: Checkpoint;
}

export interface ReserveDeps {
  readonly space: ReservableSpace;
  readonly store: Pick<BlobStore, 'create'>;
  readonly observer: Pick<Observer, 'internalError'>;
}

/**
 * Reserves space for the first bytes that are missing, and creates the file.
 * @returns undefined if the store has no room, cannot tell, or hangs: the blob is served without being stored.
 */
export async function reserveSpace(
  { digest, repositoryId }: Pick<DownloadOrder, 'digest' | 'repositoryId'>,
  { size, partial }: Opening,
  { space, store, observer }: ReserveDeps,
): Promise<ReservedSpace | undefined> {
  const claimedBytes = size === undefined ? undefined : size - (partial?.checkpoint.bytes ?? 0);
  const room = new Room({ space, claimedBytes });
  try {
    if (claimedBytes !== undefined && !(await space.couldHold(claimedBytes))) return undefined;
    await room.makeFor(Math.min(1, claimedBytes ?? 1));
    if (partial) return { room, ...partial };
    const creating = store.create(digest, repositoryId.upstream);
    return { room, incoming: await space.watch.inTime(creating, (late) => late[Symbol.asyncDispose]()) };
  } catch (cause) {
    // The blob is also served if the disk cannot tell how full it is, or takes no new file.
    if (!(cause instanceof NoRoom)) observer.internalError({ part: 'blob store', cause });
    room[Symbol.dispose]();
    return undefined;
  }
}

export interface RoomOptions {
  readonly space: Pick<Space, 'reserve'>;
  /** The size that the upstream claims; undefined when it claims none. */
  readonly claimedBytes: number | undefined;
}

const firstStepBytes = 1024 * 1024;
const maxStepBytes = 16 * 1024 * 1024;

/**
 * How much room to make when a download needs more: as much as has arrived, within bounds. So evictions are in proportion to the bytes that
 * arrived, not to the size that the upstream claims. Pure.
 */
export function roomStep({
  neededBytes,
  arrivedBytes,
  reservedBytes,
  claimedBytes = Infinity,
}: {
  readonly neededBytes: number;
  readonly arrivedBytes: number;
  /** So far, for what has arrived too. */
  readonly reservedBytes: number;
  readonly claimedBytes?: number | undefined;
}): number {
  const step = Math.min(Math.max(firstStepBytes, arrivedBytes), maxStepBytes);
  return Math.max(neededBytes, Math.min(step, claimedBytes - reservedBytes));
}

/** Room in the store for one download, made in steps as its bytes arrive. */
export class Room implements Disposable {
  readonly #options: RoomOptions;
  #reservations: Reservation[] = [];
  #arrivedBytes = 0;
  #reservedBytes = 0;
  #isReleased = false;

  constructor(options: RoomOptions) {
    this.#options = options;
  }

  /** Makes room for the bytes that are written next, evicting if necessary. @throws NoRoom */
  async makeFor(bytes: number): Promise<void> {
    const neededBytes = this.#arrivedBytes + bytes - this.#reservedBytes;
    if (neededBytes <= 0) return;
    const { space, claimedBytes } = this.#options;
    const [arrivedBytes, reservedBytes] = [this.#arrivedBytes, this.#reservedBytes];
    const step = roomStep({ neededBytes, arrivedBytes, reservedBytes, claimedBytes });
    const reservation =
      (await space.reserve(step)) ?? (step > neededBytes ? await space.reserve(neededBytes) : undefined);
    if (!reservation) throw new NoRoom();
    if (this.#isReleased) return reservation.release();
    this.#reservations.push(reservation);
    this.#reservedBytes += reservation.bytes;
  }

  /** To be called when bytes were written: from now on they count as stored. */
  wrote(bytes: number): void {
    this.#arrivedBytes += bytes;
    let left = bytes;
    for (const reservation of this.#reservations) left -= reservation.wrote(left);
    this.#reservations = this.#reservations.filter(({ leftBytes }) => leftBytes > 0);
  }

  /** Returns what was not written. */
  [Symbol.dispose](): void {
    this.#isReleased = true;
    for (const reservation of this.#reservations.splice(0)) reservation.release();
  }
}
