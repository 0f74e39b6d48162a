import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { TurnsByKey } from '../../../../src/mirror/concurrency/turns-by-key.ts';
import { gate } from '../../../support/gate.ts';

const unlimited = { signal: new AbortController().signal };

function started() {
  const turns = new TurnsByKey({ perKey: 2, maxWaiting: 1 });
  const door = gate();
  const begun: string[] = [];
  const run = (key: string, name: string, waiting = unlimited) =>
    turns.run(
      key,
      async () => {
        begun.push(name);
        await door.opened;
        return name;
      },
      waiting,
    );
  return { door, begun, run };
}

test('at most `perKey` calls run for one key, and those above `maxWaiting` are refused', async () => {
  const { door, begun, run } = started();
  const all = ['a', 'b', 'c'].map((name) => run('one', name));
  await expect(run('one', 'd')).rejects.toMatchObject({ reason: 'busy' });
  expect(begun).toEqual(['a', 'b']);
  door.open();
  expect(await Promise.all(all)).toEqual(['a', 'b', 'c']);
});

test('keys do not affect each other', async () => {
  const { door, begun, run } = started();
  const all = ['a', 'b', 'c'].map((name) => run('one', name));
  const other = run('other', 'd');
  await nextTurn();
  expect(begun).toEqual(['a', 'b', 'd']);
  door.open();
  await Promise.all([...all, other]);
});

test('a waiter that aborts frees its place, and failed work passes its turn on', async () => {
  const { door, begun, run } = started();
  const leaving = new AbortController();
  const all = ['a', 'b'].map((name) => run('one', name));
  const left = run('one', 'c', { signal: leaving.signal });
  leaving.abort(new Error('gone'));
  await expect(left).rejects.toThrow('gone');
  const after = run('one', 'd');
  door.open();
  await Promise.all([...all, after]);
  expect(begun).toEqual(['a', 'b', 'd']);

  const turns = new TurnsByKey({ perKey: 1, maxWaiting: 1 });
  const fail = () => Promise.reject(new Error('failed'));
  for (let times = 0; times < 3; times += 1) await expect(turns.run('one', fail, unlimited)).rejects.toThrow('failed');
});
