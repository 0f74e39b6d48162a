import { askRepeatedly, pullManifest } from '../clients/manifests.ts';
import { blobUrl, type Contender, manifestUrl } from '../contenders/contender.ts';
import { putImage, putSmallImage } from '../images.ts';
import { medianOf, type Row } from './rows.ts';
import type { ReplicasStage } from './stage.ts';

/** Turns of a second differ by a tenth, far more than Redis costs: the median of few would be chance. */
const warmTurns = 8;
const warmSeconds = 1;
/** Not counted: the JIT compiler optimizes first. */
const warmUpTurns = 4;
/** A warm pull of the blob takes less than a second: its time varies more than the rate of two seconds. */
const blobPullsOfATurn = 5;
const coldImages = 100;

/** What it costs one replica that Redis is configured: cached manifests, a cached blob, and cold pulls of small images. */
export async function measureWithRedis(stage: ReplicasStage): Promise<readonly Row[]> {
  const { redisPort } = stage;
  await using without = await stage.start({ name: 'without', replicas: 1 });
  await using withRedis = await stage.start({ name: 'with', replicas: 1, redisPort });
  const [[plain], [sharing]] = [without.all, withRedis.all];
  if (!plain || !sharing) throw new Error('no replicas');
  const servers = { without: plain, with: sharing };
  const rates = { without: [] as number[], with: [] as number[] };
  const warmMs = { without: [] as number[], with: [] as number[] };
  const coldMs = { without: [] as number[], with: [] as number[] };
  const warm = await putImage(stage.upstream.folder, 'with-redis');
  for (let run = 0; run < stage.runs; run += 1) {
    for (const which of run % 2 === 0 ? (['without', 'with'] as const) : (['with', 'without'] as const)) {
      const server = servers[which];
      const url = manifestUrl(server, warm, 'tag');
      await pullManifest(url, stage.signal);
      const pull = { url: blobUrl(server, warm), size: warm.layer.size, signal: stage.signal, clients: 2, times: 2 };
      await stage.readers.pull(pull);
      for (let times = 0; times < blobPullsOfATurn; times += 1) {
        const startedAtMs = performance.now();
        await stage.readers.pull(pull);
        warmMs[which].push(performance.now() - startedAtMs);
      }
    }
  }
  for (let turn = 0; turn < stage.runs * warmTurns; turn += 1) {
    for (const which of turn % 2 === 0 ? (['without', 'with'] as const) : (['with', 'without'] as const)) {
      const url = manifestUrl(servers[which], warm, 'tag');
      const load = { url, seconds: warmSeconds, signal: stage.signal };
      const { requestsPerSecond } = await askRepeatedly(stage.wrk, load);
      if (turn >= warmUpTurns) rates[which].push(requestsPerSecond);
    }
  }
  for (let index = 0; index < coldImages; index += 1) {
    for (const which of index % 2 === 0 ? (['without', 'with'] as const) : (['with', 'without'] as const)) {
      coldMs[which].push(await coldPullMs(stage, servers[which], `${which}-${index}`));
    }
  }
  return [
    { what: 'cached manifest by tag, without Redis: requests/s', measured: medianOf(rates.without) },
    {
      what: 'the same, with Redis ÷ without',
      measured: medianOf(rates.with) / medianOf(rates.without),
      atLeast: 0.97,
    },
    {
      what: 'cached blob: time with Redis ÷ without',
      measured: medianOf(warmMs.with) / medianOf(warmMs.without),
      atMost: 1.03,
    },
    { what: 'cold pull of a small image, without Redis: ms', measured: medianOf(coldMs.without) },
    { what: 'the same, with Redis: ms more', measured: medianOf(coldMs.with) - medianOf(coldMs.without), atMost: 5 },
  ];
}

/** The manifest by tag, then the layer, as a client pulls them. */
async function coldPullMs(stage: ReplicasStage, server: Contender, name: string): Promise<number> {
  const image = await putSmallImage(stage.upstream.folder, `small-${name}`);
  const startedAtMs = performance.now();
  await pullManifest(manifestUrl(server, image, 'tag'), stage.signal);
  const answer = await fetch(blobUrl(server, image), { signal: stage.signal });
  await answer.arrayBuffer();
  if (!answer.ok) throw new Error(`a small blob was answered ${answer.status}`);
  return performance.now() - startedAtMs;
}
