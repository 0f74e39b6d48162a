import { askRepeatedly, pullManifest } from '../clients/manifests.ts';
import { type Contender, manifestUrl } from '../contenders/contender.ts';
import { costOf } from '../measure.ts';
import type { Sample } from '../samples.ts';
import { interleaved, type Stage } from './stage.ts';

const seconds = 2;
/** Not timed: lets the JIT compiler optimize first. */
const warmUpSeconds = 1;

/** 32 connections request a cached manifest as fast as they can. Each server's manifest is verified once before. */
export async function measureWarmManifest(stage: Stage, by: 'tag' | 'digest'): Promise<readonly Sample[]> {
  const contenders = [stage.koa, stage.proxy, stage.layerwell];
  for (const server of contenders) await warmUp(stage, server, by);
  return interleaved(stage.runs, contenders, async (server) => {
    const load = { url: manifestUrl(server, stage.warmImage, by), seconds, signal: stage.signal };
    const { result, cpuSeconds, peakBytes } = await costOf(server.pid, () => askRepeatedly(stage.tools.wrk, load));
    return {
      measurement: `warm-manifest-${by}`,
      contender: server.name,
      seconds: result.requests / result.requestsPerSecond,
      requests: result.requests,
      cpuSeconds,
      memoryBytes: peakBytes,
    };
  });
}

async function warmUp({ tools, warmImage, signal }: Stage, server: Contender, by: 'tag' | 'digest'): Promise<void> {
  const url = manifestUrl(server, warmImage, by);
  if (!Buffer.from(warmImage.manifest.bytes).equals(await pullManifest(url, signal)))
    throw new Error(`${url} sent other bytes`);
  await askRepeatedly(tools.wrk, { url, seconds: warmUpSeconds, signal });
}
