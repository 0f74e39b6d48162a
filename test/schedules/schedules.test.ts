import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { raceFreeSchedules } from './property.ts';

vi.mock('lru-cache', async (original) => {
  await original();
  return import('./small-caches.ts');
});

/** `npm run schedules` runs ten thousand, and others each time. */
const examples = 100;

test('purges that race with pulls, downloads, warms and evictions: readers get whole blobs, and index and disk agree', async () => {
  const counts = new Map<string, number>();
  await fc.assert(raceFreeSchedules(counts), { seed: 1, numRuns: examples, endOnFailure: true });
  // They did race.
  for (const reason of ['lru', 'unused', 'purge'])
    expect(counts.get(`contents removed (${reason})`)).toBeGreaterThan(0);
});
