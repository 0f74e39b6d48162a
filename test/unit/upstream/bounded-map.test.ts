import { expect, test } from 'vitest';
import { boundedMap } from '../../../src/upstream/bounded-map.ts';

test('it holds so many entries and no more; the one that was used longest ago leaves', () => {
  const map = boundedMap<string, number>(2);
  map.set('a', 1).set('b', 2);
  map.get('a');

  map.set('c', 3);

  expect(['a', 'b', 'c'].map((key) => map.get(key))).toEqual([1, undefined, 3]);
});
