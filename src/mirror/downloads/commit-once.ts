import type { Digest } from '../../oci/digest.ts';

/** Downloads of one digest that run at the same time, each from an upstream of its own. */
interface Group {
  members: number;
  /** Settles when the commit before has ended, with whether one of the group has been committed. */
  committed: Promise<boolean>;
}

/** One download's membership in a group. */
export interface CommitTurn {
  /**
   * Commits, unless another download of the digest has committed and its blob is still stored.
   * @throws what `commit` throws; the next download then commits.
   */
  commit(steps: CommitSteps): Promise<'committed' | 'stored-already'>;
  /** To be called when this download has ended. */
  leave(): void;
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
      leave: () => {
        group.members -= 1;
        if (group.members === 0) this.#groups.delete(digest);
      },
    };
  }
}

function commitIn(group: Group, { isStored, commit }: CommitSteps): Promise<'committed' | 'stored-already'> {
  const ended = group.committed.then(async (isCommitted) => {
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
