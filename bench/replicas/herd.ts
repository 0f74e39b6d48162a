import { pullManifest } from '../clients/manifests.ts';
import { blobUrl, type Contender, manifestUrl } from '../contenders/contender.ts';
import { type Image, putImage } from '../images.ts';
import { residentBytes } from '../measure.ts';
import { settle } from '../settle.ts';
import type { Row } from './rows.ts';
import { medianOf } from './rows.ts';
import type { ReplicasStage } from './stage.ts';

const clients = 60;
const warmClients = 6;
const warmTimes = 4;
const mebibyte = 1024 ** 2;

/** Cold herds and cached blobs, from three replicas and from one. */
export async function measureHerds(stage: ReplicasStage): Promise<readonly Row[]> {
  const { redisPort } = stage;
  await using one = await stage.start({ name: 'one', replicas: 1 });
  await using three = await stage.start({ name: 'three', replicas: 3, redisPort });
  const cold = { one: [] as number[], three: [] as number[], gets: [] as number[] };
  const warm = { one: [] as number[], three: [] as number[] };
  for (let run = 0; run < stage.runs; run += 1) {
    const order = run % 2 === 0 ? (['one', 'three'] as const) : (['three', 'one'] as const);
    for (const which of order) {
      const servers = which === 'one' ? one.all : three.all;
      const image = await putImage(stage.upstream.folder, `herd-${which}-${run}`);
      cold[which].push(await secondsOf(stage, servers, image, { clients, times: 1 }));
      if (which === 'three') cold.gets.push(await stage.upstream.blobGets(image.layer.digest));
      warm[which].push(await secondsOf(stage, servers, image, { clients: warmClients, times: warmTimes }));
    }
  }
  const memory = (servers: readonly Contender[]) =>
    Promise.all(servers.map(async ({ pid }) => (await residentBytes(pid)) / mebibyte));
  const [ofOne, ofThree] = [Math.max(...(await memory(one.all))), Math.max(...(await memory(three.all)))];
  return [
    { what: `cold blob, ${clients} clients, one replica: seconds`, measured: medianOf(cold.one) },
    { what: `cold blob, ${clients} clients, three replicas: seconds`, measured: medianOf(cold.three) },
    { what: 'the same: three replicas ÷ one', measured: medianOf(cold.three) / medianOf(cold.one), atMost: 1.3 },
    { what: 'the same: upstream GETs', measured: Math.max(...cold.gets), atMost: 1 },
    { what: `cached blob, ${warmClients} clients × ${warmTimes}, one replica: seconds`, measured: medianOf(warm.one) },
    { what: 'the same, three replicas: seconds', measured: medianOf(warm.three) },
    {
      what: 'the same: rate of three ÷ rate of one',
      measured: medianOf(warm.one) / medianOf(warm.three),
      atLeast: 0.95,
    },
    { what: 'memory of one replica alone, MiB', measured: ofOne },
    { what: 'memory of the largest of three, MiB', measured: ofThree, atMost: Math.round(ofOne * 1.15) },
  ];
}

async function secondsOf(
  { upstream, readers, signal }: ReplicasStage,
  servers: readonly Contender[],
  image: Image,
  load: { readonly clients: number; readonly times: number },
): Promise<number> {
  for (const server of servers) await pullManifest(manifestUrl(server, image, 'tag'), signal);
  await settle(upstream.folder);
  const url = servers.map((server) => blobUrl(server, image));
  const startedAtMs = performance.now();
  await readers.pull({ url, size: image.layer.size, signal, ...load });
  return (performance.now() - startedAtMs) / 1_000;
}
