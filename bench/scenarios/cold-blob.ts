import { setTimeout as delay } from 'node:timers/promises';
import { pullManifest } from '../clients/manifests.ts';
import { blobUrl, type Contender, manifestUrl } from '../contenders/contender.ts';
import { type Image, putImage } from '../images.ts';
import { type Cost, costOf } from '../measure.ts';
import type { MeasurementName, Sample } from '../samples.ts';
import { settle } from '../settle.ts';
import { interleaved, present, type Stage } from './stage.ts';

/** Within this time the upstream writes the log line of a response that has just ended. */
const logSettlesWithinMs = 250;

/**
 * Clients pull, all at once, a blob that only the upstream has. Every run has its own blob. The upstream is measured
 * too, to show what the clients would get without a mirror.
 */
export async function measureCold(
  stage: Stage,
  measurement: MeasurementName,
  clients: number,
): Promise<readonly Sample[]> {
  const images = await putImages(stage, measurement, stage.runs);
  const contenders = present([stage.upstream, stage.proxy, stage.zot, stage.layerwell]);
  return interleaved(stage.runs, contenders, async (server, run) =>
    coldSampleOf(stage, { measurement, server, image: imageOf(images, run), clients }),
  );
}

export interface ColdPull {
  readonly measurement: MeasurementName;
  readonly server: Contender;
  readonly image: Image;
  readonly clients: number;
}

export async function coldSampleOf(stage: Stage, { measurement, server, image, clients }: ColdPull): Promise<Sample> {
  const pull = { url: blobUrl(server, image), size: image.layer.size, signal: stage.signal, clients, times: 1 };
  const { result, peakBytes, ...cost } = await costOfCold(stage, server, image, () => stage.readers.pull(pull));
  const sample = { measurement, contender: server.name, ...cost, memoryBytes: peakBytes, blobs: clients };
  return server.copiesWholeImages ? sample : { ...sample, firstByteMs: result.firstByteMs };
}

/** The manifest is pulled first, as every client does. This is timed only where it copies the whole image. */
export async function costOfCold<Result>(
  stage: Stage,
  server: Contender,
  image: Image,
  pull: () => Promise<Result>,
): Promise<Cost & { readonly result: Result; readonly upstreamGets: number }> {
  const pullFirst = () => pullManifest(manifestUrl(server, image, 'tag'), stage.signal);
  if (!server.copiesWholeImages) await pullFirst();
  await settle(stage.upstream.folder);
  const getsBefore = await stage.upstream.blobGets(image.layer.digest);
  const cost = await costOf(server.pid, async () => {
    if (server.copiesWholeImages) await pullFirst();
    return pull();
  });
  await delay(logSettlesWithinMs, undefined, { signal: stage.signal });
  return { ...cost, upstreamGets: (await stage.upstream.blobGets(image.layer.digest)) - getsBefore };
}

export async function putImages(stage: Stage, name: string, count: number): Promise<readonly Image[]> {
  const images: Image[] = [];
  for (let run = 0; run < count; run++) images.push(await putImage(stage.upstream.folder, `${name}-${run}`));
  return images;
}

export function imageOf(images: readonly Image[], run: number): Image {
  const image = images[run];
  if (image === undefined) throw new Error(`there is no image for run ${run}`);
  return image;
}
