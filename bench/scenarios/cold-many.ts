import { createHash } from 'node:crypto';
import { readBlob } from '../clients/blob-reader.ts';
import { blobUrl } from '../contenders/contender.ts';
import type { Sample } from '../samples.ts';
import { type ColdPull, coldSampleOf, costOfCold, imageOf, putImages } from './cold-blob.ts';
import { interleaved, type Stage } from './stage.ts';

const clients = 50;
/** The clients receive 12.5 GiB in each run. */
const mostRuns = 3;
const pieceBytes = 256 * 1024;

/** Clients of the last run that must not slow the others down. */
const slowBytesPerSecond = 1024 * 1024;
const leaving = 10;

/**
 * Fifty clients, from Layerwell and from the upstream alone, to compare the time to the first byte. Then once more with clients that hash
 * what they receive, and once more with one slow client and ten that hang up midway.
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

/** Clients that hash are slower than the server. This measures whether the digests are right, and the server's memory with slow clients. */
async function hashedSampleOf(stage: Stage, { measurement, server, image, clients }: ColdPull): Promise<Sample> {
  const pull = { url: blobUrl(server, image), digest: image.layer.digest, signal: stage.signal, clients };
  const { seconds, cpuSeconds, peakBytes, upstreamGets } = await costOfCold(stage, server, image, () =>
    stage.readers.check(pull),
  );
  return {
    measurement,
    contender: server.name,
    seconds,
    cpuSeconds,
    memoryBytes: peakBytes,
    blobs: clients,
    upstreamGets,
  };
}

/** Times the ordinary clients. The slow client then reads the rest at full speed, and must have the right bytes too. */
async function oddSampleOf(stage: Stage, { measurement, server, image, clients }: ColdPull): Promise<Sample> {
  const url = blobUrl(server, image);
  const leave = new AbortController();
  const pull = { url, digest: image.layer.digest, signal: stage.signal, clients: clients - 1 - leaving };
  const { result, ...cost } = await costOfCold(stage, server, image, async () => {
    const slow = slowDigest(url, leave.signal);
    slow.catch(() => {}); // Awaited below.
    const left = Array.from({ length: leaving }, () => leaveMidway(url, image.layer.size));
    await Promise.all([stage.readers.check(pull), ...left]);
    return { slow };
  });
  leave.abort();
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
