import { createHash } from 'node:crypto';
import { readBlob } from '../clients/blob-reader.ts';
import { blobUrl } from '../contenders/contender.ts';
import type { Sample } from '../samples.ts';
import { type ColdPull, coldSampleOf, costOfCold, imageOf, putImages } from './cold-blob.ts';
import { interleaved, type Stage } from './stage.ts';

const clients = 50;
/** 12.5 GiB reach the clients in each. */
const mostRuns = 3;
const pieceBytes = 256 * 1024;

/** Of the clients, in the last run: they must not be felt by the others. */
const slowBytesPerSecond = 1024 * 1024;
const leaving = 10;

/**
 * Fifty clients, and the upstream alone for when the first byte could be there; then once more with clients that hash what they get, and
 * once more with one that is slow and ten that hang up midway.
 */
export async function measureColdMany(stage: Stage): Promise<readonly Sample[]> {
  const runs = Math.min(stage.runs, mostRuns);
  const images = await putImages(stage, 'cold-50', runs + 2);
  const samples = await interleaved(runs, [stage.upstream, stage.layerwell], async (server, run) =>
    coldSampleOf(stage, { measurement: 'cold-50', server, image: imageOf(images, run), clients }),
  );
  const server = stage.layerwell;
  return [
    ...samples,
    await hashedSampleOf(stage, { measurement: 'cold-50-hashed', server, image: imageOf(images, runs), clients }),
    await oddSampleOf(stage, { measurement: 'cold-50-odd', server, image: imageOf(images, runs + 1), clients }),
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

/** The time is that of the clients that do nothing odd. The slow one is then let go, and must have the right bytes too. */
async function oddSampleOf(stage: Stage, { measurement, server, image, clients }: ColdPull): Promise<Sample> {
  const url = blobUrl(server, image);
  const letGo = new AbortController();
  const pull = { url, digest: image.layer.digest, signal: stage.signal, clients: clients - 1 - leaving };
  const { result, ...cost } = await costOfCold(stage, server, image, async () => {
    const slow = slowDigest(url, letGo.signal);
    slow.catch(() => {}); // It is awaited below.
    const left = Array.from({ length: leaving }, () => leaveMidway(url, image.layer.size));
    await Promise.all([stage.readers.check(pull), ...left]);
    return { slow };
  });
  letGo.abort();
  const digest = await result.slow;
  if (digest !== image.layer.digest) throw new Error(`${url} sent ${digest} to the slow client`);
  const { seconds, cpuSeconds, peakBytes, upstreamGets } = cost;
  return { measurement, contender: server.name, seconds, cpuSeconds, memoryBytes: peakBytes, upstreamGets };
}

async function slowDigest(url: string, until: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const pace = { bytesPerSecond: slowBytesPerSecond, until };
  await readBlob({ url, times: 1, buffer: Buffer.alloc(pieceBytes), onBody: (piece) => hash.update(piece), pace });
  return `sha256:${hash.digest('hex')}`;
}

async function leaveMidway(url: string, size: number): Promise<void> {
  const buffer = Buffer.alloc(pieceBytes);
  await readBlob({ url, times: 1, buffer, onBody: () => undefined, leaveAfterBytes: size / 2 });
}
