import { expect, test } from 'vitest';
import { firstFound, someFound } from '../../../src/cluster/first-found.ts';

const options = { signal: new AbortController().signal, together: 2, withinMs: 30 };
const never = () => new Promise<never>(() => {});

test('a search that nobody answers ends in time', async () => {
  expect(await firstFound(['a', 'b', 'c'], never, options)).toBeUndefined();
  expect(await someFound(['a', 'b', 'c'], never, options)).toEqual([]);
});

test('places are asked in order until some have an answer, and those after them are not asked', async () => {
  const asked: string[] = [];
  const ask = async (place: string) => {
    asked.push(place);
    return place === 'c' ? place : undefined;
  };
  expect(await someFound(['a', 'b', 'c', 'd', 'e'], ask, { ...options, withinMs: 60_000 })).toEqual(['c']);
  expect(asked).toEqual(['a', 'b', 'c', 'd']);
});

test('an unexpected error is thrown', async () => {
  const bug = () => Promise.reject(new TypeError('bug'));
  await expect(firstFound(['a'], bug, options)).rejects.toThrow('bug');
  await expect(someFound(['a'], bug, options)).rejects.toThrow('bug');
});
