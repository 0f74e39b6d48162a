import { createHash, type Hash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../../oci/digest.ts';
import { StoreHangs, type StoreWatch } from '../concurrency/abortable-wait.ts';
import type { IncomingBlob, Checkpoint, BlobStore } from '../ports/blob-store.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { Observer } from '../ports/observer.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Clock } from '../ports/clock.ts';
import type { SharedWork } from '../ports/shared-work.ts';
import type { Index } from '../ports/store-index.ts';
import { DiskFailure } from '../transfers/transfer-errors.ts';

/** A crash costs a running download about this much at most. */
const checkpointEveryBytes = 16 * 1024 * 1024;
/** A smaller partial download is not worth resuming. */
const minPartialBytes = 8 * 1024 * 1024;
const readBytes = 256 * 1024;

export interface CheckpointsDeps {
  readonly digest: Digest;
  readonly incoming: IncomingBlob;
  /** What it holds already. */
  readonly made: Checkpoint | undefined;
}

/** How much is written, and the hash of it. */
export interface Written {
  readonly bytes: number;
  readonly hash: Hash;
}

/** The hash of a download's bytes. Each piece is hashed as it arrives, when it is still in the processor's caches. */
export class DownloadHash {
  readonly #received: Hash;
  #ofRunningWrite: Hash;
  #written: Hash;

  /** @param hash of what is written already. */
  constructor(hash: Hash) {
    this.#received = hash;
    this.#written = hash.copy();
    this.#ofRunningWrite = this.#written;
  }

  /** Of what is written: when the disk takes no more, readers continue hashing from here. */
  get written(): Hash {
    return this.#written;
  }

  receive(piece: Uint8Array): void {
    this.#received.update(piece);
  }

  /** To be called when a write begins, of all that was received. */
  writeBegins(): void {
    this.#ofRunningWrite = this.#received.copy();
  }

  /** To be called when that write has ended, without a failure. */
  writeEnded(): void {
    this.#written = this.#ofRunningWrite;
  }
}

/** Writes checkpoints of an incoming blob now and then. Writing the blob never waits for them. */
export class Checkpoints {
  readonly #deps: CheckpointsDeps;
  #checkpointBytes: number;
  #written: Written | undefined;
  #making: Promise<void> | undefined;

  constructor(deps: CheckpointsDeps) {
    this.#deps = deps;
    this.#checkpointBytes = deps.made?.bytes ?? 0;
  }

  afterWriting(written: Written): void {
    this.#written = written;
    this.#makeIfDue();
  }

  /** Leaves the partial download to the next attempt if it is large enough. Nothing may be written afterwards. */
  async leave(): Promise<void> {
    const { incoming } = this.#deps;
    if (!this.#written) await incoming.leave();
    else if (this.#written.bytes >= minPartialBytes) await incoming.leave(this.#checkpointOf(this.#written));
  }

  /** Drops the partial download with its checkpoint. */
  async clear(): Promise<void> {
    this.#checkpointBytes = 0;
    await this.#deps.incoming.clear();
  }

  /** When a checkpoint is written, the next one may be due already. */
  #makeIfDue(): void {
    if (this.#making || !this.#written || this.#written.bytes - this.#checkpointBytes < checkpointEveryBytes) return;
    this.#making = this.#make(this.#written).finally(() => {
      this.#making = undefined;
      this.#makeIfDue();
    });
  }

  async #make(written: Written): Promise<void> {
    this.#checkpointBytes = written.bytes;
    await this.#deps.incoming.checkpoint(this.#checkpointOf(written));
  }

  #checkpointOf({ bytes, hash }: Written): Checkpoint {
    return { bytes, digest: digestFrom(hash.copy(), algorithmOf(this.#deps.digest)) };
  }
}

/**
 * Reads back a partial download and hashes it.
 * @returns the hash, updated with all bytes that the checkpoint covers; undefined when `signal` aborts.
 * @throws Error if the bytes are not those that the checkpoint covers, or cannot be read.
 */
export async function readBack(
  incoming: Pick<IncomingBlob, 'read'>,
  checkpoint: Checkpoint,
  { signal }: Waiting,
): Promise<Hash | undefined> {
  const hash = createHash(algorithmOf(checkpoint.digest));
  const buffer = Buffer.allocUnsafe(readBytes);
  for (let position = 0; position < checkpoint.bytes; ) {
    if (signal.aborted) return undefined;
    const bytes = await incoming.read(buffer.subarray(0, Math.min(readBytes, checkpoint.bytes - position)), position);
    if (bytes === 0) throw new Error(`the partial download ends at ${position} of ${checkpoint.bytes} bytes`);
    hash.update(buffer.subarray(0, bytes));
    position += bytes;
  }
  const actual = digestFrom(hash.copy(), algorithmOf(checkpoint.digest));
  if (actual !== checkpoint.digest)
    throw new Error(`the partial download has ${actual}, and its checkpoint has ${checkpoint.digest}`);
  return hash;
}

export interface ReadBackDeps {
  readonly incoming: Pick<IncomingBlob, 'read'>;
  readonly checkpoint: Checkpoint;
  readonly watch: Pick<StoreWatch, 'inTime'>;
  readonly observer: Pick<Observer, 'internalError'>;
}

/**
 * Reads back a partial download; drops it if it is damaged.
 * @param onUnusable called at once if it cannot be resumed.
 * @returns the hash, as {@link readBack} does; `dropped` if it begins anew. @throws DiskFailure if the store hangs, or takes no new file.
 */
export async function readBackOrDrop(
  { incoming, checkpoint, watch, observer }: ReadBackDeps,
  checkpoints: Pick<Checkpoints, 'clear'>,
  onUnusable: () => void,
  waiting: Waiting,
): Promise<Hash | 'dropped' | undefined> {
  try {
    const read: IncomingBlob['read'] = (into, position) => watch.inTime(incoming.read(into, position));
    return await readBack({ read }, checkpoint, waiting);
  } catch (cause) {
    observer.internalError({ part: 'blob store', cause });
    onUnusable();
    if (cause instanceof StoreHangs) throw new DiskFailure(cause);
    await watch.inTime(checkpoints.clear()).catch((failure: unknown) => {
      throw new DiskFailure(failure);
    });
    return 'dropped';
  }
}

/** Whether this download made the blob visible, or one from another upstream had done so. */
export type Kept = 'committed' | 'stored-already';

/** Downloads of one digest that run at the same time, each from another upstream. */
interface Group {
  members: number;
  /** Settles when the commit before has ended, with whether one of the group has been committed. */
  committed: Promise<boolean>;
}

/** One download's membership in a group. To be disposed when the download has ended. */
export interface CommitTurn extends Disposable {
  /**
   * Commits, unless another download of the digest has committed and its blob is still stored.
   * @throws what `commit` throws; the next download then commits.
   */
  commit(steps: CommitSteps): Promise<Kept>;
}

export interface CommitSteps {
  readonly isStored: () => Promise<boolean>;
  readonly commit: () => Promise<void>;
}

/** When several upstreams send the same digest at the same time, commits the download that is verified first. One commits at a time. */
export class CommitOnce {
  readonly #groups = new Map<Digest, Group>();

  join(digest: Digest): CommitTurn {
    const group = this.#groups.get(digest) ?? { members: 0, committed: Promise.resolve(false) };
    this.#groups.set(digest, group);
    group.members += 1;
    return {
      commit: (steps) => commitIn(group, steps),
      [Symbol.dispose]: () => {
        group.members -= 1;
        if (group.members === 0) this.#groups.delete(digest);
      },
    };
  }
}

function commitIn(group: Group, { isStored, commit }: CommitSteps): Promise<Kept> {
  const ended = group.committed.then(async (isCommitted): Promise<Kept> => {
    if (isCommitted && (await isStored())) return 'stored-already';
    await commit();
    return 'committed';
  });
  group.committed = ended.then(
    () => true,
    () => false,
  );
  return ended;
}

/** Makes a verified blob visible. @throws the file system's error. */
export async function commitBlob(
  turn: CommitTurn,
  { digest, incoming }: { readonly digest: Digest; readonly incoming: Pick<IncomingBlob, 'commit'> },
  { store, observer }: { readonly store: Pick<BlobStore, 'open'>; readonly observer: Pick<Observer, 'internalError'> },
): Promise<Kept> {
  const isStored = async () => {
    await using stored = await store.open(digest);
    return stored !== undefined;
  };
  const commit = async () => {
    try {
      await incoming.commit();
    } catch (cause) {
      // If only the last fsync failed, the blob is visible all the same, and counts as stored.
      if (!(await isStored())) throw cause;
      observer.internalError({ part: 'blob store', cause });
    }
  };
  return turn.commit({ isStored, commit });
}

/** Where a stored blob is recorded. */
export interface BlobRecording {
  readonly index: Pick<Index, 'recordContent'>;
  readonly links: { record(repositoryId: RepositoryId, digest: Digest, size: number): Promise<void> };
  readonly clock: Pick<Clock, 'now'>;
  readonly observer: Pick<Observer, 'contentStored'>;
  /** Blobs that the disk failed to read a moment ago. */
  readonly unreadable: { forget(digest: Digest): void };
  readonly shared: Pick<SharedWork, 'stored'>;
}

/** Records a blob that is visible now: the index counts it, the repository is linked to it, and other replicas may read it. */
export async function recordBlob(
  { repositoryId, digest }: { readonly repositoryId: RepositoryId; readonly digest: Digest },
  { size, how }: { readonly size: number; readonly how: Kept },
  { index, links, clock, observer, unreadable, shared }: BlobRecording,
): Promise<void> {
  unreadable.forget(digest);
  // At once, so that there is no moment in which it counts neither as arriving nor as stored.
  index.recordContent({ digest, size, isManifest: false, names: [], usedAtMs: clock.now() });
  await links.record(repositoryId, digest, size);
  shared.stored?.({ repositoryId, digest });
  if (how === 'committed') observer.contentStored({ kind: 'blob', bytes: size });
}
