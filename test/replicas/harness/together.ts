import { setTimeout as sleep } from 'node:timers/promises';
import { type FakeRegistry, startFakeRegistry } from '../../support/fake-registry.ts';
import { pump } from '../../support/fake-answer.ts';
import { gate } from '../../support/gate.ts';
import type { Owner } from '../../support/owner.ts';
import { type BlobSeen, pullByTag, type RunningPull } from './client.ts';
import { imageOf, type LayerImage } from './image.ts';
import { haveMet, portOf, type Replica, type Replicas, startReplicas } from './replicas.ts';
import { startTcpProxy } from './tcp-proxy.ts';

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
  /** From the upstream's first byte of the layer to the client's, minus the same without replicas between them; medians over the clients. */
  readonly firstByteBehindMs: number;
  /** Without replicas between them: how busy the machine is. */
  readonly directFirstByteMs: number;
  readonly longestPauseMs: number;
  readonly seconds: number;
}

const repository = 'library/app';
/** Sent first, so that the way of the first byte is not measured behind a full link. */
const firstBytes = 256 * 1024;
const mebibyte = 1024 * 1024;

/** Many clients pull one image at once, which no replica has. */
export async function pullTogether(options: TogetherOptions): Promise<Together> {
  const { owner, clients, interruption } = options;
  const image = imageOf(options.mebibytes, `layer ${interruption}`);
  const upstream = await startFakeRegistry({ owner });
  upstream.content.add(repository, '1', image);
  const replicas = await startReplicas({ upstream, redis: { port: options.redisPort }, owner });
  await haveMet(replicas);
  const directMs = await firstByteFromUpstream(upstream, options);
  upstream.forgetRequests();

  const [headers, body, path] = [gate(), pump(), endingWith(image.layer.digest)];
  upstream.script({ method: 'GET', path, times: 1 }, { holdHeaders: headers, pump: body });
  const startedAtMs = performance.now();
  const pulls = Array.from({ length: clients }, () => pullByTag({ url: replicas.url, repository, tag: '1' }));
  await Promise.all([...pulls.map(({ asked }) => asked), upstream.arrived('GET', path)]);
  const sentAtMs = performance.now();
  headers.open();
  body.release(firstBytes);
  await haveReceived(pulls, 1);
  const size = image.layer.bytes.length;
  body.release(size / 2);
  const interrupted = await interrupt({ interruption, replicas, pulls, receivedBytes: size / 4 });
  body.release(size);
  const results = await Promise.allSettled(pulls.map(({ done }) => done));
  if (interruption === 'SIGSTOP') interrupted?.mirror.send('SIGCONT');
  const seen = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  return {
    ...askedOf(upstream, image),
    rightDigests: seen.filter(({ digest }) => digest === image.layer.digest).length,
    failures: results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : [])),
    firstByteBehindMs: firstByteMs(seen, sentAtMs) - directMs,
    directFirstByteMs: directMs,
    longestPauseMs: Math.max(...seen.map((one: BlobSeen) => one.longestPauseMs)),
    seconds: (performance.now() - startedAtMs) / 1_000,
  };
}

function firstByteMs(seen: readonly BlobSeen[], sentAtMs: number): number {
  return medianOf(seen.map(({ firstByteAtMs, askedAtMs }) => firstByteAtMs - Math.max(sentAtMs, askedAtMs)));
}

/** The same number of clients pull a small layer from the upstream, through a proxy as well. */
async function firstByteFromUpstream(upstream: FakeRegistry, { clients, owner }: TogetherOptions): Promise<number> {
  const image = imageOf(firstBytes / mebibyte, 'direct');
  upstream.content.add('library/direct', '1', image);
  const headers = gate();
  const path = endingWith(image.layer.digest);
  upstream.script({ method: 'GET', path }, { holdHeaders: headers });
  const { url } = await startTcpProxy([portOf(upstream.url)], owner);
  const pulls = Array.from({ length: clients }, () => pullByTag({ url, repository: 'library/direct', tag: '1' }));
  await Promise.all([...pulls.map(({ asked }) => asked), upstream.arrived('GET', path, clients)]);
  const sentAtMs = performance.now();
  headers.open();
  return firstByteMs(await Promise.all(pulls.map(({ done }) => done)), sentAtMs);
}

/** Once every client has received so much of the layer. */
async function interrupt(scene: {
  readonly interruption: Interruption;
  readonly replicas: Replicas;
  readonly pulls: readonly RunningPull[];
  readonly receivedBytes: number;
}): Promise<Replica | undefined> {
  const { interruption, replicas, pulls, receivedBytes } = scene;
  if (interruption === 'none') return undefined;
  await haveReceived(pulls, receivedBytes);
  const holder = replicas.holder();
  holder.mirror.send(interruption);
  replicas.takeOut(holder);
  return holder;
}

/** Resolves when each pull has received so much, or has failed. */
async function haveReceived(pulls: readonly RunningPull[], bytes: number): Promise<void> {
  const failed = Promise.race(pulls.map(({ done }) => done)).then(
    () => true,
    () => true,
  );
  while (pulls.some(({ receivedBytes }) => receivedBytes < bytes)) {
    if (await Promise.race([failed, sleep(5)])) return;
  }
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

function endingWith(digest: string): RegExp {
  return new RegExp(`/${digest}$`);
}

export function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
