import { expect, test } from 'vitest';
import { Background, Postponed } from '../../../../src/mirror/concurrency/background.ts';
import { gate } from '../../../support/gate.ts';

function start(retryAfterMs = 3_600_000) {
  const failures: unknown[] = [];
  const observer = { internalError: ({ cause }: { cause: unknown }) => failures.push(cause) };
  return { background: new Background({ observer, retryAfterMs }), failures };
}

/** Work that fails `times` times, then succeeds. Counts its tries. */
function failing(times: number) {
  const work = {
    tried: 0,
    done: gate(),
    run: async () => {
      work.tried += 1;
      if (work.tried <= times) throw new Error(`failed ${work.tried}`);
      work.done.open();
    },
  };
  return work;
}

test('failures in the background are reported, and shutdown waits for running work', async () => {
  const { background, failures } = start();
  const disk = gate();
  let isWritten = false;
  background.run('part', async () => {
    await disk.opened;
    isWritten = true;
  });
  background.run('part', failing(1).run);
  const idle = background.idle();
  disk.open();
  await idle;
  expect(isWritten).toBe(true);
  expect(failures).toEqual([new Error('failed 1')]);
});

test('a failed write is retried until it succeeds', async () => {
  const { background, failures } = start(1);
  const work = failing(3);
  await background.retryUntilWritten('part', 'name', work.run);
  await work.done.opened;
  expect(failures).toHaveLength(3);
  await background.idle();
  expect(work.tried).toBe(4);
});

test('the caller waits for the first try only, and does not see its failure', async () => {
  const { background } = start();
  const work = failing(1);
  await background.retryUntilWritten('part', 'name', work.run);
  expect(work.tried).toBe(1);
});

test('newer work of the same name replaces failed work', async () => {
  const { background } = start();
  const [older, newer] = [failing(1), failing(0)];
  await background.retryUntilWritten('part', 'name', older.run);
  await background.retryUntilWritten('part', 'name', newer.run);
  await background.idle();
  expect([older.tried, newer.tried]).toEqual([1, 1]);
});

test('work that fails after newer work of its name has succeeded is not retried', async () => {
  const { background } = start();
  const slow = gate();
  let tried = 0;
  const older = background.retryUntilWritten('part', 'name', async () => {
    tried += 1;
    await slow.opened;
    throw new Error('failed late');
  });
  await background.retryUntilWritten('part', 'name', failing(0).run);
  slow.open();
  await older;
  await background.idle();
  expect(tried).toBe(1);
});

test('shutdown retries failed work once more', async () => {
  const { background } = start();
  const work = failing(1);
  await background.retryUntilWritten('part', 'name', work.run);
  await background.idle();
  expect(work.tried).toBe(2);
});

test('postponed work is retried without being reported', async () => {
  const { background, failures } = start(1);
  const done = gate();
  let tried = 0;
  await background.retryUntilWritten('part', 'name', async () => {
    tried += 1;
    if (tried === 1) throw new Postponed('the index is being rebuilt');
    done.open();
  });
  await done.opened;
  expect(failures).toEqual([]);
});

test('what runs now is waited for, and not what begins meanwhile', async () => {
  const { background } = start();
  const [first, second] = [gate(), gate()];
  const ended: string[] = [];
  background.run('part', async () => {
    await first.opened;
    ended.push('first');
  });
  const settled = background.settled();
  background.run('part', () => second.opened);
  first.open();
  await settled;
  expect(ended).toEqual(['first']);
  second.open();
  await background.idle();
});
