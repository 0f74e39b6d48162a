import { setTimeout as delay } from 'node:timers/promises';
import { pullManifest } from '../clients/manifests.ts';
import { blobUrl, type Contender, manifestUrl } from '../contenders/contender.ts';
import { type Image, putImage } from '../images.ts';
import { settle } from '../settle.ts';
import { medianOf, type Row } from './rows.ts';
import type { ReplicasStage } from './stage.ts';

const limit = 1.2;
/** Within this time a blob of 256 MiB is in the bucket. */
const uploadsWithinMs = 60_000;

type SourceName = 'upstream' | 'sibling' | 'bucket';

/** The time of one client that pulls a blob which its replica gets from the upstream, from a sibling, or from the bucket. The sources take turns. */
export async function measureSources(stage: ReplicasStage): Promise<readonly Row[]> {
  const { redisPort, bucket } = stage;
  const bucketImages = bucket ? await fillBucket(stage) : [];
  const seconds: Record<SourceName, number[]> = { upstream: [], sibling: [], bucket: [] };
  await using alone = await stage.start({ name: 'alone', replicas: 1 });
  await using pair = await stage.start({ name: 'pair', replicas: 2, redisPort });
  await using reading = await stage.start({ name: 'reading', replicas: 1, bucket });
  const [first, second, single, reader] = [pair.all[0], pair.all[1], alone.all[0], reading.all[0]];
  if (!first || !second || !single || !reader) throw new Error('no replicas');
  for (let run = 0; run < stage.runs; run += 1) {
    seconds.upstream.push(await secondsOf(stage, single, await newImage(stage, `upstream-${run}`)));
    const image = await newImage(stage, `sibling-${run}`);
    await secondsOf(stage, first, image);
    seconds.sibling.push(await secondsOf(stage, second, image));
    await mustBeAskedOnce(stage, image);
    const stored = bucketImages[run];
    if (stored) seconds.bucket.push(await secondsOf(stage, reader, stored));
    if (stored) await mustBeAskedOnce(stage, stored);
  }
  return rowsOf(seconds);
}

function rowsOf(seconds: Readonly<Record<SourceName, readonly number[]>>): readonly Row[] {
  const upstream = medianOf(seconds.upstream);
  const of = (name: string, values: readonly number[]): readonly Row[] =>
    values.length === 0
      ? []
      : [
          { what: `cold blob, 1 client, from ${name}: seconds`, measured: medianOf(values) },
          { what: `the same ÷ from the upstream`, measured: medianOf(values) / upstream, atMost: limit },
        ];
  return [
    { what: 'cold blob, 1 client, from the upstream: seconds', measured: upstream },
    ...of('a sibling', seconds.sibling),
    ...of('the bucket', seconds.bucket),
  ];
}

/** One replica fills the bucket. @returns images, one for each run, that a replica which does not know them has only in the bucket. */
async function fillBucket(stage: ReplicasStage): Promise<readonly Image[]> {
  await using filling = await stage.start({ name: 'filling', replicas: 1, bucket: stage.bucket });
  const [server] = filling.all;
  if (!server) throw new Error('no replica');
  const images: Image[] = [];
  for (let run = 0; run < stage.runs; run += 1) {
    const image = await newImage(stage, `bucket-${run}`);
    await secondsOf(stage, server, image);
    images.push(image);
  }
  await delay(uploadsWithinMs / 4, undefined, { signal: stage.signal });
  return images;
}

async function newImage({ upstream }: ReplicasStage, name: string): Promise<Image> {
  return putImage(upstream.folder, name);
}

async function secondsOf(
  { upstream, readers, signal }: ReplicasStage,
  server: Contender,
  image: Image,
): Promise<number> {
  await pullManifest(manifestUrl(server, image, 'tag'), signal);
  await settle(upstream.folder);
  const startedAtMs = performance.now();
  await readers.pull({ url: blobUrl(server, image), size: image.layer.size, signal, clients: 1, times: 1 });
  return (performance.now() - startedAtMs) / 1_000;
}

/** @throws Error if the second replica asked the upstream too: then its time means nothing. */
async function mustBeAskedOnce({ upstream, signal }: ReplicasStage, image: Image): Promise<void> {
  await delay(250, undefined, { signal });
  const gets = await upstream.blobGets(image.layer.digest);
  if (gets !== 1) throw new Error(`the upstream was asked ${gets} times for the blob of ${image.tag}`);
}
