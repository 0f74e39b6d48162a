import { blobUrl, type Contender } from '../contenders/contender.ts';
import { costOf } from '../measure.ts';
import type { ScenarioName } from '../options.ts';
import type { Sample } from '../samples.ts';
import { interleaved, present, type Stage } from './stage.ts';

/** Long enough together that the kernel's resolution of 10 ms does not matter. */
export interface WarmPulls {
  readonly clients: number;
  /** How often each pulls the blob. */
  readonly times: number;
}

/** Clients pull a cached blob. Each server's blob is verified once before. */
export async function measureWarmBlob(
  stage: Stage,
  measurement: ScenarioName,
  { clients, times }: WarmPulls,
  contenders: readonly Contender[] = present([stage.nginx, stage.proxy, stage.zot, stage.layerwell]),
): Promise<readonly Sample[]> {
  const { warmImage, signal } = stage;
  const { digest, size } = warmImage.layer;
  for (const server of contenders) {
    await stage.readers.check({ url: blobUrl(server, warmImage), clients: 1, digest, signal });
  }
  return interleaved(stage.runs, contenders, async (server) => {
    const pull = { url: blobUrl(server, warmImage), size, signal, clients, times };
    const { seconds, cpuSeconds, peakBytes } = await costOf(server.pid, () => stage.readers.pull(pull));
    const blobs = clients * times;
    return { measurement, contender: server.name, seconds, cpuSeconds, memoryBytes: peakBytes, blobs };
  });
}
