import { mkdir } from 'node:fs/promises';
import { longestTurnMs } from '../../test/support/longest-turn.ts';
import { fullSpace, itemBytes, keptGlob, indexKeptAndVictims } from '../../test/support/space-beside-kept.ts';
import { indexAt, never } from '../../test/support/sqlite-index.ts';
import type { Stage } from '../scenarios/stage.ts';
import type { Bound } from './bound.ts';

const keptItems = 50_000;
const victims = 1_000;

/** Evicts 1,000 times from a full store in which all of the least recently used content is kept. The index is on disk. */
export async function measureEvictionBesideKept(stage: Stage): Promise<readonly Bound[]> {
  const { folder } = stage.site('eviction-kept');
  await mkdir(folder, { recursive: true });
  const { index } = indexAt(folder, { keep: [keptGlob] });
  await index.start();
  try {
    await index.completeRebuild({ signal: never });
    await indexKeptAndVictims(index, { keptItems, victims });
    return await evictAll(await fullSpace(index));
  } finally {
    await index.stop();
  }
}

async function evictAll({ space, removed }: Awaited<ReturnType<typeof fullSpace>>): Promise<readonly Bound[]> {
  const startedAtMs = performance.now();
  const stallMs = await longestTurnMs(async () => {
    for (let number = 0; number < victims; number += 1) await space.reserve(itemBytes);
  });
  const victimMs = (performance.now() - startedAtMs) / victims;
  if (removed() !== victims) throw new Error(`${removed()} of ${victims} victims were evicted`);
  return [
    {
      what: `eviction with ${keptItems.toLocaleString('en-US')} kept items: ms per eviction`,
      measured: victimMs,
      limit: 5,
    },
    { what: 'the same: longest stall of the event loop, ms', measured: stallMs, limit: 20 },
  ];
}
