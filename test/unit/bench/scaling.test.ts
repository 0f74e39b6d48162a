import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { measuredHerds } from '../../../bench/scaling/measured-herds.ts';
import { type Herd, type Shape, simulate, type Site } from '../../../bench/scaling/simulate.ts';
import { scalingTable } from '../../../bench/scaling/table.ts';

/** The machine of the bench: everything shares its two processors, and loopback is never the limit. */
const bench: Site = { upstream: 100, bucket: 100, replica: 100, node: 100, sharedProcessors: 2 };
/** Processors never are the limit. */
const free = {
  sendCpuSecondsPerGiB: 0,
  receiveCpuSecondsPerGiB: 0,
  clientCpuSecondsPerGiB: 0,
  upstreamCpuSecondsPerGiB: 0,
  cpuSecondsPerRequest: 0,
  processorsPerReplica: 1,
};

function herd(shape: Shape, replicas: number, nodes: number): Herd {
  return { shape, replicas, nodes, imageGiB: 1, layers: 10 };
}

describe('the simulation reproduces what was measured', () => {
  test.each(measuredHerds)('$shape: $replicas replicas, $nodes clients: $seconds s', ({ seconds, ...measured }) => {
    const simulated = simulate({ ...measured, imageGiB: 0.25, layers: 1 }, bench).seconds;
    expect(simulated / seconds).toBeGreaterThan(0.85);
    expect(simulated / seconds).toBeLessThan(1.15);
  });
});

test('a herd takes as long as the network of its only replica needs for all copies', () => {
  const site = { upstream: 10, bucket: 10, replica: 1, node: 1 };
  expect(simulate(herd('alone', 1, 100), site, free).seconds).toBeCloseTo(100, -1);
});

test('replicas that work alone fetch the image once each, siblings once in all, and from a bucket none of it', () => {
  const site = { upstream: 0.1, bucket: 5, replica: 1, node: 1 };
  const gibOf = (shape: Shape) => {
    const { upstreamGiB, siblingGiB, bucketGiB } = simulate(herd(shape, 3, 30), site, free);
    return [upstreamGiB, siblingGiB, bucketGiB].map(Math.round);
  };
  expect([gibOf('alone'), gibOf('siblings'), gibOf('bucket')]).toEqual([
    [3, 0, 0],
    [1, 2, 0],
    [0, 0, 3],
  ]);
});

test('clients receive a blob while it arrives: a slow upstream and the nodes overlap', () => {
  const site = { upstream: 0.1, bucket: 5, replica: 1, node: 1 };
  const { seconds, limitedBy } = simulate(herd('siblings', 3, 20), site, free);
  expect(seconds).toBeLessThan(11);
  expect(limitedBy).toBe('upstream');
});

test('a replica without nodes takes no part', () => {
  const site = { upstream: 1, bucket: 1, replica: 1, node: 1 };
  expect(simulate(herd('siblings', 30, 2), site, free).siblingGiB).toBeCloseTo(1);
});

test('docs/scaling.md has the table that the simulation prints', () => {
  expect(readFileSync('docs/scaling.md', 'utf8')).toContain(scalingTable());
});
