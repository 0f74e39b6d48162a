import { expect, test } from 'vitest';
import { longestTurnMs } from '../../../support/longest-turn.ts';
import { fullSpace, itemBytes, keptGlob, indexKeptAndVictims } from '../../../support/space-beside-kept.ts';
import { startCompleteIndex } from '../../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const victims = 200;

test('a victim costs no more beside 50,000 kept items, and eviction does not block the event loop', {
  timeout: 60_000,
}, async () => {
  const { index } = await startCompleteIndex(await temporaryDirectory(), { keep: [keptGlob] });
  await indexKeptAndVictims(index, { keptItems: 50_000, victims });
  const { space, removed } = await fullSpace(index);
  const cpuBefore = process.threadCpuUsage();
  const longestMs = await longestTurnMs(async () => {
    for (let number = 0; number < victims; number += 1) expect(await space.reserve(itemBytes)).toBeDefined();
  });
  const { user, system } = process.threadCpuUsage(cpuBefore);
  expect(removed()).toBe(victims);
  expect((user + system) / 1000 / victims).toBeLessThan(5);
  expect(longestMs).toBeLessThan(100);
  expect(await space.reserve(itemBytes)).toBeUndefined();
});
