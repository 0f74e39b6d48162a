import type { Digest } from '../../oci/digest.ts';

/** Downloads of one digest that run at the same time, each from an upstream of its own. */
interface Group {
  members: number;
  /** Settles when the commit before has ended: whether one of the group is committed. */
  committed: Promise<boolean>;
}

/** The part of one download in it. */
export interface CommitTurn {
  /**
   * Commits, unless another download of the digest has committed and its blob is stored.
   * @throws as `commit`; then the next one commits.
   */
  commit(steps: CommitSteps): Promise<'committed' | 'stored-already'>;
  /** This download has ended. */
  leave(): void;
}

export interface CommitSteps {
  readonly isStored: () => Promise<boolean>;
  readonly commit: () => Promise<void>;
}

/** Of downloads of one digest from several upstreams the one that is verified first is committed. One commits at a time. */
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
