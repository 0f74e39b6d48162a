import { type FakeRegistry, startFakeRegistry } from '../../support/fake-registry.ts';
import { type Pump, pump } from '../../support/fake-answer.ts';
import { gate } from '../../support/gate.ts';
import type { Owner } from '../../support/owner.ts';
import { absoluteMs } from './absolute-time.ts';
import type { BlobSeen } from './client.ts';
import { type Herd, startHerd } from './herd.ts';
import { imageOf, type LayerImage } from './image.ts';
import { haveMet, portOf, type Replica, type Replicas, startReplicas } from './replicas.ts';

/** What happens to the replica that downloads, when half of the blob is there. */
export type Interruption = 'none' | 'SIGKILL' | 'SIGSTOP' | 'SIGSTOP, then SIGCONT';

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
const firstBytes = 16 * 1024;
/** Then so much at a time, as the clients take it: an upstream that is silent for long is another story. */
const stepBytes = 1024 * 1024;
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
  const rest = pump();
  upstream.script({ method: 'GET', path, times: 1 }, { pump: rest });
  const startedAtMs = absoluteMs();
  const ports = replicas.all.map(({ mirror }) => portOf(mirror.url));
  const herd = startHerd({ repository, tag: '1', clients, ports }, owner);
  await Promise.all([herd.asked, upstream.arrived('GET', path)]);
  const sentAtMs = absoluteMs();
  headers.open();
  body.release(firstBytes);
  await herd.received(1);
  const size = image.layer.bytes.length;
  await sendUntil({ body, herd, sentBytes: firstBytes, endBytes: size / 2 });
  const interrupted = interrupt({ interruption, replicas, herd });
  if (interruption === 'SIGSTOP, then SIGCONT') {
    // It wakes up while the others read on from the next replica.
    await upstream.arrived('GET', path, 2);
    const received = herd.received(size / 2 + stepBytes);
    rest.release(2 * stepBytes);
    await received;
    interrupted?.mirror.send('SIGCONT');
  }
  rest.release(size);
  body.release(size);
  const { seen, failures } = await herd.done;
  if (interruption === 'SIGSTOP') interrupted?.mirror.send('SIGCONT');
  return {
    ...askedOf(upstream, image),
    rightDigests: seen.filter(({ digest }) => digest === image.layer.digest).length,
    failures,
    firstByteBehindMs: firstByteMs(seen, sentAtMs) - directMs,
    directFirstByteMs: directMs,
    longestPauseMs: Math.max(...seen.map((one) => one.longestPauseMs)),
    seconds: (absoluteMs() - startedAtMs) / 1_000,
  };
}

function firstByteMs(seen: readonly BlobSeen[], sentAtMs: number): number {
  return medianOf(seen.map(({ firstByteAtMs, askedAtMs }) => firstByteAtMs - Math.max(sentAtMs, askedAtMs)));
}

/** The same number of clients pull a small layer from the upstream, through the same balancer. */
async function firstByteFromUpstream(upstream: FakeRegistry, { clients, owner }: TogetherOptions): Promise<number> {
  const image = imageOf(firstBytes / mebibyte, 'direct');
  upstream.content.add('library/direct', '1', image);
  const headers = gate();
  const path = endingWith(image.layer.digest);
  upstream.script({ method: 'GET', path }, { holdHeaders: headers });
  const herd = startHerd({ repository: 'library/direct', tag: '1', clients, ports: [portOf(upstream.url)] }, owner);
  await Promise.all([herd.asked, upstream.arrived('GET', path, clients)]);
  const sentAtMs = absoluteMs();
  headers.open();
  return firstByteMs((await herd.done).seen, sentAtMs);
}

async function sendUntil(sending: {
  readonly body: Pump;
  readonly herd: Herd;
  readonly sentBytes: number;
  readonly endBytes: number;
}): Promise<void> {
  const { body, herd, endBytes } = sending;
  for (let { sentBytes } = sending; sentBytes < endBytes; sentBytes += stepBytes) {
    const received = herd.received(sentBytes);
    body.release(Math.min(stepBytes, endBytes - sentBytes));
    await received;
  }
}

function interrupt(scene: {
  readonly interruption: Interruption;
  readonly replicas: Replicas;
  readonly herd: Herd;
}): Replica | undefined {
  const { interruption, replicas, herd } = scene;
  if (interruption === 'none') return undefined;
  const holder = replicas.holder();
  holder.mirror.send(interruption === 'SIGKILL' ? 'SIGKILL' : 'SIGSTOP');
  herd.takeOut(portOf(holder.mirror.url));
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

function endingWith(digest: string): RegExp {
  return new RegExp(`/${digest}$`);
}

export function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
