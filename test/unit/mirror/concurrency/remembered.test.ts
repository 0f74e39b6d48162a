import { expect, test } from 'vitest';
import { boundedMap, Remembered, RememberedNotFound } from '../../../../src/mirror/concurrency/remembered.ts';
import { OciError } from '../../../../src/oci/errors.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const [one, two] = [{ is: 'one' }, { is: 'two' }];

test('an outcome is remembered for the given time, and no longer', () => {
  const clock = new ManualClock();
  const remembered = new Remembered({ clock, max: 10 });
  remembered.remember('a', one, 1_000);
  clock.advance(999);
  expect(remembered.get('a')).toBe(one);
  expect(remembered.get('b')).toBeUndefined();
  clock.advance(1);
  expect(remembered.get('a')).toBeUndefined();
});

test.each([-86_400_000, 86_400_000])('setting the wall clock by %d ms does not change that', (byMs) => {
  const clock = new ManualClock();
  const remembered = new Remembered({ clock, max: 10 });
  remembered.remember('a', one, 1_000);
  clock.setWallClock(byMs);
  clock.advance(999);
  expect(remembered.get('a')).toBe(one);
  clock.advance(1);
  expect(remembered.get('a')).toBeUndefined();
});

test('the last outcome counts, and can be forgotten', () => {
  const remembered = new Remembered({ clock: new ManualClock(), max: 10 });
  remembered.remember('a', one, 1_000);
  remembered.remember('a', two, 1_000);
  expect(remembered.get('a')).toBe(two);
  remembered.forget('a');
  expect(remembered.get('a')).toBeUndefined();
});

test('with a time of 0 nothing is remembered', () => {
  const remembered = new Remembered({ clock: new ManualClock(), max: 10 });
  remembered.remember('a', one, 0);
  expect(remembered.get('a')).toBeUndefined();
});

test('only the last `max` outcomes are remembered', () => {
  const remembered = new Remembered({ clock: new ManualClock(), max: 2 });
  for (const key of ['a', 'b', 'c']) remembered.remember(key, one, 1_000);
  expect(['a', 'b', 'c'].filter((key) => remembered.get(key))).toEqual(['b', 'c']);
});

test('a remembered "not found" has the code and message of the original, which is its cause', () => {
  const answer = new OciError('BLOB_UNKNOWN', 'no such blob');
  expect(new RememberedNotFound(answer)).toMatchObject({
    code: 'BLOB_UNKNOWN',
    status: 404,
    message: 'no such blob',
    cause: answer,
  });
});

test('it holds at most `max` entries; the least recently used is removed', () => {
  const map = boundedMap<string, number>(2);
  map.set('a', 1).set('b', 2);
  map.get('a');

  map.set('c', 3);

  expect(['a', 'b', 'c'].map((key) => map.get(key))).toEqual([1, undefined, 3]);
});
