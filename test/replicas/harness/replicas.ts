import type { FakeRegistry } from '../../support/fake-registry.ts';
import { freePort } from '../../support/free-port.ts';
import type { Owner } from '../../support/owner.ts';
import { type MirrorConfig, mirrorOf, type RunningMirror, startMirror } from '../../support/start-mirror.ts';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts';

/** A real process, and the links around it. */
export interface Replica {
  readonly mirror: RunningMirror;
  readonly toUpstream: TcpProxy;
  readonly toRedis: TcpProxy;
  /** What it advertises: the other replicas reach it through this link. */
  readonly fromSiblings: TcpProxy;
}

export interface ReplicasOptions {
  readonly upstream: Pick<FakeRegistry, 'url'>;
  /** A single server, over a link that can be broken; or how it is configured. */
  readonly redis: { readonly port: number } | { readonly config: object };
  readonly count?: number;
  /**
   * How many replicas have links to Redis and to siblings that can be broken. These are proxies in this process: while it is busy, Redis is
   * slow for them.
   */
  readonly linked?: number;
  /** Added to the configuration of each. */
  readonly config?: MirrorConfig;
  /** Added to the environment of each. */
  readonly env?: Readonly<Record<string, string>>;
  readonly owner: Owner;
}

/** Replicas with a store each, one Redis, and a TCP proxy in front that spreads the clients' connections in turn. */
export interface Replicas {
  readonly all: readonly Replica[];
  readonly balancer: TcpProxy;
  /** Where clients pull. */
  readonly url: string;
  /** The replica that has received most from the upstream. */
  holder(): Replica;
  /** No new client reaches it any more. */
  drain(replica: Replica): void;
  /** No client reaches it any more: those it has are cut. */
  takeOut(replica: Replica): void;
  putBack(replica: Replica): void;
}

export async function startReplicas(options: ReplicasOptions): Promise<Replicas> {
  const { owner, count = 3, linked = 0 } = options;
  const all: Replica[] = [];
  for (let index = 0; index < count; index += 1) all.push(await startReplica(options, { hasLinks: index < linked }));
  const balancer = await startTcpProxy(
    all.map(({ mirror }) => portOf(mirror.url)),
    owner,
  );
  return {
    all,
    balancer,
    url: balancer.url,
    holder: () => {
      const [first] = all.toSorted((a, b) => b.toUpstream.receivedBytes - a.toUpstream.receivedBytes);
      if (!first) throw new Error('there are no replicas');
      return first;
    },
    drain: ({ mirror }) => balancer.drain(portOf(mirror.url)),
    takeOut: ({ mirror }) => balancer.takeOut(portOf(mirror.url)),
    putBack: ({ mirror }) => balancer.putBack(portOf(mirror.url)),
  };
}

/** Resolves when every replica knows the others. */
export async function haveMet({ all }: Pick<Replicas, 'all'>): Promise<void> {
  const known = async ({ mirror }: Replica) => (await mirror.metrics()).sum('layerwell_cluster_replicas');
  while ((await Promise.all(all.map(known))).some((count) => count < all.length));
}

async function startReplica(options: ReplicasOptions, { hasLinks }: { readonly hasLinks: boolean }): Promise<Replica> {
  const { upstream, redis, config = {}, env = {}, owner } = options;
  const siblingPort = await freePort();
  const [toUpstream, toRedis, fromSiblings] = await Promise.all(
    [portOf(upstream.url), 'port' in redis ? redis.port : 0, siblingPort].map((port) => startTcpProxy([port], owner)),
  );
  if (!toUpstream || !toRedis || !fromSiblings) throw new Error('no links');
  const cluster = {
    redis: 'port' in redis ? { url: `redis://127.0.0.1:${hasLinks ? toRedis.port : redis.port}` } : redis.config,
    listen: { host: '127.0.0.1', port: siblingPort },
    advertise: hasLinks ? fromSiblings.url : `http://127.0.0.1:${siblingPort}`,
    secret: clusterSecret,
  };
  const mirror = await startMirror({ ...mirrorOf(toUpstream), ...config, cluster }, { owner, env });
  return { mirror, toUpstream, toRedis, fromSiblings };
}

export const clusterSecret = 'a secret of the replicas, of forty bytes';

export function portOf(url: string): number {
  return Number(new URL(url).port);
}
