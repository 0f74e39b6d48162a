import { expect, test } from 'vitest';
import { CommitOnce } from '../../../../src/mirror/downloads/commit.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { gate } from '../../../support/gate.ts';

const digest = digestOf(Buffer.from('blob'));

/** A store that says what was committed to it. */
function storeOf() {
  const store = { commits: 0, isStored: true };
  const steps = {
    isStored: async () => store.isStored,
    commit: async () => {
      store.commits += 1;
    },
  };
  return { store, steps };
}

test('of two downloads of one digest the first that is verified is committed, and the other finds it stored', async () => {
  const commits = new CommitOnce();
  const [first, second] = [commits.join(digest), commits.join(digest)];
  const { store, steps } = storeOf();
  const committing = gate();
  const slow = { ...steps, commit: () => committing.opened.then(steps.commit) };
  const both = Promise.all([second.commit(slow), first.commit(steps)]);
  committing.open();
  expect(await both).toEqual(['committed', 'stored-already']);
  expect(store.commits).toBe(1);
});

test('when the first commit fails, or its blob is gone again, the next download commits', async () => {
  const commits = new CommitOnce();
  const turns = [commits.join(digest), commits.join(digest), commits.join(digest)];
  const { store, steps } = storeOf();
  const failing = { ...steps, commit: () => Promise.reject(new Error('EIO')) };
  await expect(turns[0]?.commit(failing)).rejects.toThrow('EIO');
  expect(await turns[1]?.commit(steps)).toBe('committed');
  store.isStored = false;
  expect(await turns[2]?.commit(steps)).toBe('committed');
  expect(store.commits).toBe(2);
});

test('a download that begins after all others have ended replaces what is stored: it may be damaged', async () => {
  const commits = new CommitOnce();
  const { store, steps } = storeOf();
  for (let run = 0; run < 2; run += 1) {
    const turn = commits.join(digest);
    expect(await turn.commit(steps)).toBe('committed');
    turn[Symbol.dispose]();
  }
  expect(store.commits).toBe(2);
});
