import { blobUrl } from '../contenders/contender.ts';
import type { Sample } from '../samples.ts';
import { type ColdPull, coldSampleOf, costOfCold, imageOf, putImages } from './cold-blob.ts';
import { interleaved, type Stage } from './stage.ts';

const clients = 50;
/** 12.5 GiB reach the clients in each. */
const mostRuns = 3;

/** Fifty clients and Layerwell alone; then once more, with clients that hash what they get. */
export async function measureColdMany(stage: Stage): Promise<readonly Sample[]> {
  const runs = Math.min(stage.runs, mostRuns);
  const images = await putImages(stage, 'cold-50', runs + 1);
  const server = stage.layerwell;
  const samples = await interleaved(runs, [server], async (_, run) =>
    coldSampleOf(stage, { measurement: 'cold-50', server, image: imageOf(images, run), clients }),
  );
  return [
    ...samples,
    await hashedSampleOf(stage, { measurement: 'cold-50-hashed', server, image: imageOf(images, runs), clients }),
  ];
}

/** Clients that hash are slower than the server: this is about digests, and about the memory that slow clients make it hold. */
async function hashedSampleOf(stage: Stage, { measurement, server, image, clients }: ColdPull): Promise<Sample> {
  const pull = { url: blobUrl(server, image), digest: image.layer.digest, signal: stage.signal, clients };
  const { seconds, cpuSeconds, peakBytes, upstreamGets } = await costOfCold(stage, server, image, () =>
    stage.readers.check(pull),
  );
  return { measurement, contender: server.name, seconds, cpuSeconds, memoryBytes: peakBytes, upstreamGets };
}
