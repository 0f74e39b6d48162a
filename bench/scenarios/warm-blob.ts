import { blobUrl } from '../contenders/contender.ts';
import { costOf } from '../measure.ts';
import type { Sample } from '../samples.ts';
import { interleaved, type Stage } from './stage.ts';

const clients = 2;
/** Long enough that the kernel's resolution of 10 ms does not matter. */
const times = 4;

/** Two clients pull a cached blob, four times each. Each server's blob is verified once before. */
export async function measureWarmBlob(stage: Stage): Promise<readonly Sample[]> {
  const { warmImage, signal } = stage;
  const contenders = [stage.nginx, stage.proxy, stage.layerwell];
  const { digest, size } = warmImage.layer;
  for (const server of contenders) {
    await stage.readers.check({ url: blobUrl(server, warmImage), clients: 1, digest, signal });
  }
  return interleaved(stage.runs, contenders, async (server) => {
    const pull = { url: blobUrl(server, warmImage), size, signal, clients, times };
    const { seconds, cpuSeconds, peakBytes } = await costOf(server.pid, () => stage.readers.pull(pull));
    return { measurement: 'warm-blob', contender: server.name, seconds, cpuSeconds, memoryBytes: peakBytes };
  });
}
