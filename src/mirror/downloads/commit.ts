import type { Digest } from '../../oci/digest.ts';
import type { BlobStore, IncomingBlob } from '../ports/blob-store.ts';
import type { Observer } from '../ports/observer.ts';
import type { BlobLinks } from '../access/links.ts';
import type { Clock } from '../ports/clock.ts';
import type { Index } from '../ports/store-index.ts';
import type { DownloadOrder } from './run.ts';

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

/** What is told of a blob that is stored now. */
export interface BlobRecording {
  readonly index: Pick<Index, 'noteContent'>;
  readonly links: Pick<BlobLinks, 'record'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly observer: Pick<Observer, 'contentStored'>;
  /** Blobs that the disk failed to read a moment ago. */
  readonly unreadable: { forget(digest: Digest): void };
}

/** Records a blob that is visible now: the index counts it, and the repository is linked to it. */
export async function recordBlob(
  { repositoryId, digest }: Pick<DownloadOrder, 'repositoryId' | 'digest'>,
  { size, how }: { readonly size: number; readonly how: Kept },
  { index, links, clock, observer, unreadable }: BlobRecording,
): Promise<void> {
  unreadable.forget(digest);
  // At once, so that there is no moment in which it counts neither as arriving nor as stored.
  index.noteContent({ digest, size, isManifest: false, names: [], usedAtMs: clock.now() });
  await links.record(repositoryId, digest, size);
  if (how === 'committed') observer.contentStored({ kind: 'blob', bytes: size });
}
