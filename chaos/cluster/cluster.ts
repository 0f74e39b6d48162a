import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bucketEnvironment, bucketTools, startBucket } from '../../test/replicas/harness/bucket.ts';
import { freePort } from '../../test/support/free-port.ts';
import type { Owner } from '../../test/support/owner.ts';
import { redisTools } from '../../test/support/redis.ts';
import { type Sentinels, startSentinels } from '../../test/support/redis-servers.ts';
import { findTool } from '../../test/support/tools.ts';
import { storeIdFile } from '../../src/storage/layout.ts';
import type { Dice } from '../dice.ts';
import type { Ledger } from '../ledger.ts';
import { mirrorConfig, type NamedRegistry } from '../mirror-config.ts';
import { MirrorProcess } from '../mirror-process.ts';
import { startSentinelView } from './sentinel-view.ts';
import { Throttle } from './throttle.ts';
import { type Link, startToxiproxy, type Toxiproxy, toxiproxyTool } from './toxiproxy.ts';

/** What one replica is connected to. Each is cut off as a whole. */
export const linkNames = ['to Redis', 'from siblings', 'to bucket', 'to upstreams'] as const;
export type Links = Readonly<Record<(typeof linkNames)[number], readonly Link[]>>;

export interface Member {
  readonly name: string;
  readonly mirror: MirrorProcess;
  readonly links: Links;
}

/** Replicas with what they share. */
export interface Cluster extends AsyncDisposable {
  readonly redis: Sentinels;
  /** Undefined if versitygw is not installed. */
  readonly bucket: Throttle | undefined;
  /** The first one is the mirror that all other faults happen to. */
  readonly members: readonly Member[];
  /** Removes the view of the first one's store from Redis. */
  readonly loseIndex: () => Promise<void>;
}

export interface ClusterPlan {
  readonly folder: string;
  readonly replicas: number;
  readonly registries: readonly NamedRegistry[];
  /** The registries that each replica reaches over links of its own. */
  readonly linked: ReadonlySet<string>;
  /** Of the first replica; the others have a folder each. */
  readonly dataFolder: string;
  readonly dice: Dice;
  readonly ledger: Ledger;
}

interface ThrottledBucket {
  readonly throttle: Throttle;
  /** The section `storage.shared` without a link. */
  readonly section: object;
}

interface Shared {
  readonly toxiproxy: Toxiproxy;
  readonly redis: Sentinels;
  readonly bucket: ThrottledBucket | undefined;
  readonly owner: Owner;
}

const secret = 'the secret of the replicas under chaos';
/** Of the replicas, these many keep their index in Redis too. The others have SQLite. */
const indexedInRedis = 2;

/**
 * Starts Redis with Sentinels and a bucket, and prepares the replicas. They must be started, and killed at the end.
 * @throws Error that names the programs that are missing
 */
export async function prepareCluster(plan: ClusterPlan): Promise<Cluster> {
  const missing = [toxiproxyTool, ...redisTools].filter((name) => findTool(name) === undefined);
  if (missing.length > 0) throw new Error(`${missing.join(', ')} not installed: scripts/install-tools.sh`);
  const owned = new AsyncDisposableStack();
  const owner: Owner = (cleanUp) => owned.defer(cleanUp);
  const [toxiproxy, redis] = await Promise.all([startToxiproxy(owner), startSentinels({ owner })]);
  const hasBucket = bucketTools.every((name) => findTool(name) !== undefined);
  const bucket = hasBucket ? await startThrottledBucket(plan, owner) : undefined;
  const members: Member[] = [];
  for (let index = 0; index < plan.replicas; index += 1) {
    members.push(await prepareMember(plan, index, { toxiproxy, redis, bucket, owner }));
  }
  return {
    redis,
    bucket: bucket?.throttle,
    members,
    loseIndex: () => loseView(redis, plan.dataFolder),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function startThrottledBucket({ dice, ledger }: ClusterPlan, owner: Owner): Promise<ThrottledBucket> {
  const { port, section } = await startBucket(owner);
  const onRefused = (): void => ledger.count('faults', 'bucket: 503 SlowDown');
  const throttle = new Throttle({ port, dice: dice.of('throttle'), onRefused });
  await throttle.start(owner);
  return { throttle, section };
}

async function prepareMember(plan: ClusterPlan, index: number, shared: Shared): Promise<Member> {
  const { toxiproxy, bucket } = shared;
  const name = `replica-${index + 1}`;
  const siblingPort = await freePort();
  const { redisLinks, redisKeys } = await linkToRedis(shared);
  const siblingLink = await toxiproxy.linkTo(siblingPort);
  const bucketLink = bucket && (await toxiproxy.linkTo(bucket.throttle.port));
  const { registries, upstreamLinks } = await linkToUpstreams(plan, toxiproxy);
  const base = mirrorConfig(registries);
  const sharedStorage = bucket && bucketLink && { shared: { ...bucket.section, endpoint: bucketLink.url } };
  const config = {
    ...base,
    storage: { ...Object(Reflect.get(base, 'storage')), ...sharedStorage },
    ...(index < indexedInRedis && { index: { driver: 'redis', ...redisKeys } }),
    cluster: {
      redis: redisKeys,
      listen: { host: '127.0.0.1', port: siblingPort },
      advertise: siblingLink.url,
      secret,
    },
  };
  const folder = index === 0 ? plan.folder : join(plan.folder, name);
  await mkdir(folder, { recursive: true });
  const dataFolder = index === 0 ? plan.dataFolder : join(folder, 'data');
  return {
    name,
    mirror: new MirrorProcess({ folder, dataFolder, config, env: bucketEnvironment }),
    links: {
      'to Redis': redisLinks,
      'from siblings': [siblingLink],
      'to bucket': bucketLink ? [bucketLink] : [],
      'to upstreams': upstreamLinks,
    },
  };
}

/** Links to the servers and to the Sentinels, which name the former. */
async function linkToRedis({ toxiproxy, redis, owner }: Shared) {
  const ports = new Map<number, number>();
  const toServers: Link[] = [];
  for (const { port } of redis.servers) {
    const link = await toxiproxy.linkTo(port);
    toServers.push(link);
    ports.set(port, link.port);
  }
  const toSentinels: Link[] = [];
  for (const port of redis.ports) {
    const link = await toxiproxy.linkTo(await startSentinelView({ port, ports }, owner));
    toSentinels.push(link);
    ports.set(port, link.port);
  }
  const sentinels = toSentinels.map(({ port }) => `127.0.0.1:${port}`);
  return { redisLinks: [...toServers, ...toSentinels], redisKeys: { sentinels, name: 'layers' } };
}

async function linkToUpstreams({ registries, linked }: ClusterPlan, toxiproxy: Toxiproxy) {
  const upstreamLinks: Link[] = [];
  const seen: NamedRegistry[] = [];
  for (const registry of registries) {
    if (!linked.has(registry.name)) {
      seen.push(registry);
      continue;
    }
    const link = await toxiproxy.linkTo(Number(new URL(registry.url).port));
    upstreamLinks.push(link);
    seen.push({ name: registry.name, url: link.url });
  }
  return { registries: seen, upstreamLinks };
}

/** While Redis takes no writes, nothing is removed. */
async function loseView(redis: Sentinels, dataFolder: string): Promise<void> {
  const storeId = (await readFile(join(dataFolder, storeIdFile), 'utf8').catch(() => '')).trim();
  if (storeId === '') return;
  const script = `for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end`;
  const primary = await redis.primary();
  await primary.ask('EVAL', script, '0', `layerwell:v1:{${storeId}}:*`).catch(() => {});
}
