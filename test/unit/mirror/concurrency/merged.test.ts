import { expect, test } from 'vitest';
import { merged } from '../../../../src/mirror/concurrency/parallel.ts';

async function* counting(name: string, most: number, running: Set<string>): AsyncGenerator<string> {
  running.add(name);
  try {
    for (let at = 0; at < most; at += 1) {
      await Promise.resolve();
      yield `${name}${at}`;
    }
  } finally {
    running.delete(name);
  }
}

test('gives all values of all generators, with so many running at the same time and no more', async () => {
  const running = new Set<string>();
  let most = 0;
  const seen: string[] = [];
  const generators = ['a', 'b', 'c', 'd', 'e'].map((name, at) => counting(name, at, running));
  for await (const value of merged(generators, 2)) {
    most = Math.max(most, running.size);
    seen.push(value);
  }
  expect(seen.toSorted()).toEqual(['b0', 'c0', 'c1', 'd0', 'd1', 'd2', 'e0', 'e1', 'e2', 'e3']);
  expect(most).toBe(2);
  expect(running.size).toBe(0);
});

test('a reader that leaves ends the generators that run', async () => {
  const running = new Set<string>();
  for await (const _ of merged(
    ['a', 'b', 'c'].map((name) => counting(name, 9, running)),
    2,
  ))
    break;
  expect(running.size).toBe(0);
});

test('what one throws is thrown, and the others are ended', async () => {
  const running = new Set<string>();
  async function* failing(): AsyncGenerator<string> {
    yield 'x';
    throw new Error('the listing failed');
  }
  const all = Array.fromAsync(merged([counting('a', 9, running), failing()], 2));
  await expect(all).rejects.toThrow('the listing failed');
  expect(running.size).toBe(0);
});
