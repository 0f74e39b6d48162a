import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bucket, bucketEnvironment, bucketTools, startBucket } from '../../test/replicas/harness/bucket.ts';
import { startTcpProxy, type TcpProxy } from '../../test/replicas/harness/tcp-proxy.ts';
import { freePort } from '../../test/support/free-port.ts';
import type { Owner } from '../../test/support/owner.ts';
import { startRedis, type TestRedis } from '../../test/support/redis.ts';
import { findTool } from '../../test/support/tools.ts';
import { MirrorProcess } from '../mirror-process.ts';

/** The links of one replica. */
export interface Links {
  readonly toRedis: TcpProxy;
  readonly fromSiblings: TcpProxy;
  /** Undefined without a bucket. */
  readonly toBucket: TcpProxy | undefined;
}

export interface Member {
  readonly name: string;
  readonly mirror: MirrorProcess;
  readonly links: Links;
}

/** Replicas with what they share. */
export interface Cluster extends AsyncDisposable {
  readonly redis: TestRedis;
  /** Undefined if versitygw is not installed. */
  readonly bucket: Bucket | undefined;
  /** The first one is the mirror that all other faults happen to. */
  readonly members: readonly Member[];
}

export interface ClusterPlan {
  readonly folder: string;
  readonly replicas: number;
  /** The configuration of each, without the sections of the cluster. */
  readonly config: object;
  /** Of the first replica; the others have a folder each. */
  readonly dataFolder: string;
}

const secret = 'the secret of the replicas under chaos';

/** Starts Redis and a bucket, and prepares the replicas. They must be started, and killed at the end. */
export async function prepareCluster(plan: ClusterPlan): Promise<Cluster> {
  const owned = new AsyncDisposableStack();
  const owner: Owner = (cleanUp) => owned.defer(cleanUp);
  const redis = await startRedis({ owner });
  const hasBucket = bucketTools.every((name) => findTool(name) !== undefined);
  const bucket = hasBucket ? await startBucket(owner) : undefined;
  const members: Member[] = [];
  for (let index = 0; index < plan.replicas; index += 1) {
    members.push(await prepareMember(plan, index, { redis, bucket, owner }));
  }
  return { redis, bucket, members, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

interface Shared {
  readonly redis: TestRedis;
  readonly bucket: Bucket | undefined;
  readonly owner: Owner;
}

async function prepareMember(plan: ClusterPlan, index: number, { redis, bucket, owner }: Shared): Promise<Member> {
  const name = `replica-${index + 1}`;
  const siblingPort = await freePort();
  const [toRedis, fromSiblings] = [await startTcpProxy([redis.port], owner), await startTcpProxy([siblingPort], owner)];
  const toBucket = bucket && (await startTcpProxy([bucket.port], owner));
  const shared = bucket && toBucket && { ...bucket.section, endpoint: toBucket.url };
  const config = {
    ...plan.config,
    storage: { ...Object(Reflect.get(plan.config, 'storage')), ...(shared && { shared }) },
    cluster: {
      redis: { url: `redis://127.0.0.1:${toRedis.port}` },
      listen: { host: '127.0.0.1', port: siblingPort },
      advertise: fromSiblings.url,
      secret,
    },
  };
  const folder = index === 0 ? plan.folder : join(plan.folder, name);
  await mkdir(folder, { recursive: true });
  const dataFolder = index === 0 ? plan.dataFolder : join(folder, 'data');
  const mirror = new MirrorProcess({ folder, dataFolder, config, env: bucketEnvironment });
  return { name, mirror, links: { toRedis, fromSiblings, toBucket } };
}
