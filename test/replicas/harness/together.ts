import { type FakeRegistry, startFakeRegistry } from '../../support/fake-registry.ts';
import { gate } from '../../support/gate.ts';
import type { Owner } from '../../support/owner.ts';
import { type BlobSeen, pullByTag, type RunningPull } from './client.ts';
import { imageOf, type LayerImage } from './image.ts';
import { haveMet, type Replica, type Replicas, startReplicas } from './replicas.ts';

/** What happens to the replica that downloads, when half of the blob is there. */
export type Interruption = 'none' | 'SIGKILL' | 'SIGSTOP';

export interface TogetherOptions {
  readonly mebibytes: number;
  readonly clients: number;
  readonly interruption: Interruption;
  readonly redisPort: number;
  readonly owner: Owner;
}

/** What the upstream and the clients saw. */
export interface Together {
  /** HEADs and GETs of the tag. */
  readonly tagRequests: number;
  readonly manifestGets: number;
  readonly layerGets: number;
  /** Of those, the ones that asked for the rest only. */
  readonly rangedGets: number;
  readonly rightDigests: number;
  readonly failures: readonly string[];
  /** The client's first byte of the layer minus the upstream's; the median over the clients. */
  readonly firstByteBehindMs: number;
  readonly longestPauseMs: number;
  readonly seconds: number;
}

const repository = 'library/app';

/** Many clients pull one image at once, which no replica has. */
export async function pullTogether(options: TogetherOptions): Promise<Together> {
  const { owner, clients, interruption } = options;
  const image = imageOf(options.mebibytes, `layer ${interruption}`);
  const upstream = await startFakeRegistry({ owner });
  upstream.content.add(repository, '1', image);
  const replicas = await startReplicas({ upstream, redis: { port: options.redisPort }, owner });
  await haveMet(replicas);
  upstream.forgetRequests();

  const [headers, half] = [gate(), gate()];
  const path = layerPath(image);
  const holdBody = { afterBytes: image.layer.bytes.length / 2, until: half };
  upstream.script({ method: 'GET', path, times: 1 }, { holdHeaders: headers, holdBody });
  const startedAtMs = performance.now();
  const pulls = Array.from({ length: clients }, () => pullByTag({ url: replicas.url, repository, tag: '1' }));
  await Promise.all([...pulls.map(({ asked }) => asked), upstream.arrived('GET', path)]);
  const sentAtMs = performance.now();
  headers.open();
  const interrupted = await interruptAtHalf({ interruption, replicas, pulls, image });
  half.open();
  const results = await Promise.allSettled(pulls.map(({ done }) => done));
  if (interruption === 'SIGSTOP') interrupted?.mirror.send('SIGCONT');
  const seen = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  return {
    ...askedOf(upstream, image),
    rightDigests: seen.filter(({ digest }) => digest === image.layer.digest).length,
    failures: results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : [])),
    firstByteBehindMs: medianOf(seen.map((one) => one.firstByteAtMs - Math.max(sentAtMs, one.askedAtMs))),
    longestPauseMs: Math.max(...seen.map((one: BlobSeen) => one.longestPauseMs)),
    seconds: (performance.now() - startedAtMs) / 1_000,
  };
}

async function interruptAtHalf(scene: {
  readonly interruption: Interruption;
  readonly replicas: Replicas;
  readonly pulls: readonly RunningPull[];
  readonly image: LayerImage;
}): Promise<Replica | undefined> {
  const { interruption, replicas, pulls, image } = scene;
  if (interruption === 'none') return undefined;
  const quarter = image.layer.bytes.length / 4;
  while (pulls.some(({ receivedBytes }) => receivedBytes < quarter)) await nextTurn();
  const holder = replicas.holder();
  holder.mirror.send(interruption);
  replicas.takeOut(holder);
  return holder;
}

function askedOf(upstream: FakeRegistry, { manifest, layer }: LayerImage) {
  const gets = upstream.seen('GET', new RegExp(`/blobs/${layer.digest}$`));
  return {
    tagRequests: upstream.count(undefined, /\/manifests\/1$/),
    manifestGets: upstream.count('GET', /\/manifests\/1$/) + upstream.count('GET', endingWith(manifest.digest)),
    layerGets: gets.length,
    rangedGets: gets.filter(({ headers }) => headers.range !== undefined).length,
  };
}

function layerPath({ layer }: LayerImage): RegExp {
  return endingWith(layer.digest);
}

function endingWith(digest: string): RegExp {
  return new RegExp(`/${digest}$`);
}

export function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5));
}
