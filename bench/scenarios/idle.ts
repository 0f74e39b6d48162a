import { setTimeout as delay } from 'node:timers/promises';
import type { Contender, Site } from '../contenders/contender.ts';
import { startProxy } from '../contenders/distribution.ts';
import { startLayerwell } from '../contenders/layerwell.ts';
import { residentBytes } from '../measure.ts';
import type { Sample } from '../samples.ts';
import { interleaved, type Stage } from './stage.ts';

const settlesWithinMs = 2_000;

/** A fresh process with an empty store: the time until it is ready, and its memory two seconds later without any request. */
export async function measureIdle(stage: Stage): Promise<readonly Sample[]> {
  return interleaved(stage.runs, [startLayerwell, startProxy], async (start, run) => {
    const site = stage.site(`idle-${start.name}-${run}`);
    return idleSampleOf(start, site, stage.upstream.url);
  });
}

async function idleSampleOf(
  start: (site: Site, upstreamUrl: string) => Promise<Contender>,
  site: Site,
  upstreamUrl: string,
): Promise<Sample> {
  await using server = await start(site, upstreamUrl);
  await delay(settlesWithinMs, undefined, { signal: site.signal });
  const memoryBytes = await residentBytes(server.pid);
  return { measurement: 'idle', contender: server.name, seconds: server.readyAfterMs / 1_000, memoryBytes };
}
