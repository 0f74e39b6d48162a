import { askRepeatedly, pullManifest } from '../clients/manifests.ts';
import { blobUrl, type Contender, manifestUrl } from '../contenders/contender.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { costOf } from '../measure.ts';
import type { ScenarioName } from '../options.ts';
import type { Sample } from '../samples.ts';
import { interleaved, present, type Stage } from './stage.ts';

const seconds = 2;
/** Not timed: lets the JIT compiler optimize first. */
const warmUpSeconds = 1;

/** 32 connections request a cached blob of 4 KiB as fast as they can: a config, an attestation. */
export async function measureSmallBlob(stage: Stage): Promise<readonly Sample[]> {
  const contenders = present([stage.koa, stage.proxy, stage.zot, stage.layerwell]);
  const { digest, size } = stage.warmImage.small;
  const urlOf = (server: Contender) => blobUrl(server, stage.warmImage, digest);
  for (const server of contenders) {
    const bytes = await pullManifest(urlOf(server), stage.signal);
    if (bytes.byteLength !== size || digestOf(bytes) !== digest) throw new Error(`${urlOf(server)} sent other bytes`);
    await askRepeatedly(stage.tools.wrk, { url: urlOf(server), seconds: warmUpSeconds, signal: stage.signal });
  }
  return interleaved(stage.runs, contenders, (server) => sampleOf(stage, server, 'small-blob', urlOf(server)));
}

/** 32 connections request a cached manifest as fast as they can. Each server's manifest is verified once before. */
export async function measureWarmManifest(stage: Stage, by: 'tag' | 'digest'): Promise<readonly Sample[]> {
  const contenders = present([stage.koa, stage.proxy, stage.zot, stage.layerwell]);
  for (const server of contenders) await warmUp(stage, server, by);
  return interleaved(stage.runs, contenders, (server) =>
    sampleOf(stage, server, `warm-manifest-${by}`, manifestUrl(server, stage.warmImage, by)),
  );
}

async function sampleOf(
  { tools, signal }: Stage,
  server: Contender,
  measurement: ScenarioName,
  url: string,
): Promise<Sample> {
  const { result, cpuSeconds, peakBytes } = await costOf(server.pid, () =>
    askRepeatedly(tools.wrk, { url, seconds, signal }),
  );
  return {
    measurement,
    contender: server.name,
    seconds: result.requests / result.requestsPerSecond,
    requests: result.requests,
    cpuSeconds,
    memoryBytes: peakBytes,
  };
}

async function warmUp({ tools, warmImage, signal }: Stage, server: Contender, by: 'tag' | 'digest'): Promise<void> {
  const url = manifestUrl(server, warmImage, by);
  if (!Buffer.from(warmImage.manifest.bytes).equals(await pullManifest(url, signal)))
    throw new Error(`${url} sent other bytes`);
  await askRepeatedly(tools.wrk, { url, seconds: warmUpSeconds, signal });
}
