import { describe, expect, test } from 'vitest';
import { parallel } from '../../../../src/mirror/concurrency/parallel.ts';

describe('work that runs ahead', () => {
  test('keeps the order, and never runs further ahead than it may', async () => {
    let [running, most] = [0, 0];
    const results: number[] = [];
    const work = async (value: number) => {
      most = Math.max(most, (running += 1));
      for (let turn = 0; turn < 10 - value; turn += 1) await Promise.resolve();
      running -= 1;
      return value;
    };
    for await (const result of parallel([1, 2, 3, 4, 5, 6, 7, 8, 9], 3, work)) results.push(result);
    expect(results).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(most).toBeLessThanOrEqual(3);
  });

  test('fails when the turn of what failed comes, with no unhandled rejection', async () => {
    const work = async (value: number) => {
      if (value === 2) throw new Error('two');
      return value;
    };
    const results: number[] = [];
    const read = async () => {
      for await (const result of parallel([1, 2, 3], 2, work)) results.push(result);
    };
    await expect(read()).rejects.toThrow('two');
    expect(results).toEqual([1]);
  });
});
