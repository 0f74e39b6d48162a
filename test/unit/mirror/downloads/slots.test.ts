import { expect, test } from 'vitest';
import {
  abandonedToEnd,
  limitsOf,
  nextGranted,
  slotLimits,
  type DownloadState,
  downloadToYield,
} from '../../../../src/mirror/downloads/slots.ts';

test.each([
  [1, 1],
  [4, 3],
  [64, 48],
])('of %i slots one upstream gets at most three quarters', (total, perUpstream) => {
  expect(slotLimits(total)).toMatchObject({ total, perUpstream });
});

test.each([
  [1, 1],
  [31, 1],
  [64, 4],
])('of %i slots each upstream is guaranteed a sixteenth, and at least one', (total, guaranteed) => {
  expect(slotLimits(total)).toMatchObject({ guaranteed });
});

test.each([
  [1, { slots: 1, outside: 0 }],
  [2, { slots: 1, outside: 0 }],
  [8, { slots: 6, outside: 1 }],
  [64, { slots: 48, outside: 15 }],
  [128, { slots: 48, outside: 24 }],
])(
  'with %i connections an upstream has one left for manifests, however many of its downloads are slow',
  (most, limits) => {
    expect(limitsOf(slotLimits(64), most)).toEqual(limits);
  },
);

interface Named extends DownloadState {
  readonly name: string;
}

const well = { hasClients: true, isSlow: false, bytesPerSecond: 1e6, isOutside: false };
const slow = { ...well, isSlow: true };
const left = { ...well, hasClients: false };

const named = (states: Readonly<Record<string, DownloadState>>): readonly Named[] =>
  Object.entries(states).map(([name, state]) => ({ name, ...state }));

test.each<{ what: string; downloads: Readonly<Record<string, DownloadState>>; outside?: number; yields: string }>([
  { what: 'downloads that keep up keep their slots', downloads: { a: well, b: well }, yields: 'none' },
  { what: 'one without clients ends, the oldest first', downloads: { a: slow, b: left, c: left }, yields: 'end b' },
  {
    what: 'the slowest continues without a slot',
    downloads: { a: { ...slow, bytesPerSecond: 9 }, b: { ...slow, bytesPerSecond: 2 }, c: well },
    yields: 'outside b',
  },
  {
    what: 'one that has no slot frees none',
    downloads: { a: { ...slow, isOutside: true, bytesPerSecond: 1 }, b: { ...slow, bytesPerSecond: 2 } },
    yields: 'outside b',
  },
  {
    what: 'when no more may continue without a slot, one without clients is cut',
    downloads: {
      a: { ...slow, bytesPerSecond: 1 },
      b: { ...slow, hasClients: false, isOutside: true, bytesPerSecond: 8 },
    },
    outside: 1,
    yields: 'cut b',
  },
  {
    what: 'else the slowest of all',
    downloads: { a: { ...slow, bytesPerSecond: 5 }, b: { ...slow, isOutside: true, bytesPerSecond: 3 } },
    outside: 1,
    yields: 'cut b',
  },
  {
    what: 'slow ones without a slot are not cut if that frees no slot',
    downloads: { a: well, b: { ...slow, isOutside: true } },
    outside: 1,
    yields: 'none',
  },
])('$what', ({ downloads, outside = 0, yields }) => {
  const yielding = downloadToYield(named(downloads), { outside, maxOutside: 1 });
  expect(yielding.kind === 'none' ? 'none' : `${yielding.kind} ${yielding.download.name}`).toBe(yields);
});

test('a free slot goes to the upstream that holds the fewest, and there to the longest waiting download', () => {
  const waiting = [
    { name: 'a', heldByUpstream: 5 },
    { name: 'b', heldByUpstream: 2 },
    { name: 'c', heldByUpstream: 2 },
  ];
  expect(nextGranted(waiting)?.name).toBe('b');
  expect(nextGranted([])).toBeUndefined();
});

test('too many downloads without clients cost the upstream with the most of them its oldest', () => {
  const abandoned = ['honest', 'evil', 'evil'].map((label, index) => ({ label, index }));
  expect(abandonedToEnd(abandoned, 3)).toBeUndefined();
  expect(abandonedToEnd(abandoned, 2)).toEqual({ label: 'evil', index: 1 });
});
