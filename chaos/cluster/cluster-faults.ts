import { setTimeout as sleep } from 'node:timers/promises';
import type { TestRedis } from '../../test/support/redis.ts';
import type { Sentinels } from '../../test/support/redis-servers.ts';
import type { Dice } from '../dice.ts';
import type { FaultDeps } from '../faults/inject.ts';
import { type Cluster, linkNames, type Member } from './cluster.ts';
import type { Throttle } from './throttle.ts';
import type { Directions, LinkFault, ToxicType } from './toxiproxy.ts';

/** Everything that can go wrong between replicas, at the same time, until the signal aborts. All is mended at the end. */
export async function failCluster(
  cluster: Cluster,
  deps: FaultDeps,
  { mayKill, signal }: { readonly mayKill: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const [, ...others] = cluster.members;
  await Promise.all([
    failRedis(cluster.redis, deps, signal),
    ...(cluster.bucket ? [throttleBucket(cluster.bucket, deps, signal)] : []),
    ...others.map((member) => failReplica(member, deps, { mayKill, signal })),
    ...cluster.members.map((member) => failLinks(member, deps, signal)),
  ]);
}

/** A replica is frozen and wakes, or is killed and restarted. */
async function failReplica(
  { name, mirror }: Member,
  deps: FaultDeps,
  { mayKill, signal }: { readonly mayKill: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const dice = deps.dice.of(name);
  while (!signal.aborted) {
    await pass(dice.between(3_000, 9_000), signal);
    if (signal.aborted) return;
    if (mayKill && dice.isLucky(0.5)) {
      deps.ledger.count('faults', 'replica killed');
      await mirror.kill();
      await pass(dice.between(0, 2_000), signal);
      await mirror.start();
    } else {
      deps.ledger.count('faults', 'replica frozen');
      mirror.freeze();
      await pass(dice.between(300, 8_000), signal);
      mirror.thaw();
    }
  }
}

/** A replica is partitioned from Redis, its siblings, the bucket, or its upstreams, or from all of them. */
async function failLinks({ name, links }: Member, deps: FaultDeps, signal: AbortSignal): Promise<void> {
  const dice = deps.dice.of(`links of ${name}`);
  while (!signal.aborted) {
    await pass(dice.between(1_000, 5_000), signal);
    if (signal.aborted) return;
    const failing = dice.isLucky(0.3) ? linkNames : [dice.pick(linkNames)];
    const { what, fault } = someFault(dice);
    for (const to of failing) {
      if (links[to].length > 0) deps.ledger.count('faults', `link ${to}: ${what}`);
    }
    const broken = failing.flatMap((to) => links[to]);
    await Promise.all(broken.map((link) => link.fail(fault)));
    await pass(dice.between(500, 7_000), signal);
    await Promise.all(broken.map((link) => link.mend()));
  }
}

const bothWays = ['upstream', 'downstream'] as const;

function someFault(dice: Dice): { readonly what: string; readonly fault: LinkFault } {
  const toxic = (type: ToxicType, attributes: Readonly<Record<string, number>>, directions: Directions = bothWays) =>
    ({ kind: 'toxic', type, attributes, directions }) as const;
  return dice.pick<{ readonly what: string; readonly fault: LinkFault }>([
    { what: 'silent', fault: toxic('timeout', { timeout: 0 }) },
    { what: 'silent in one direction', fault: toxic('timeout', { timeout: 0 }, [dice.pick(bothWays)]) },
    { what: 'cut and refused', fault: { kind: 'refused' } },
    { what: 'reset', fault: toxic('reset_peer', { timeout: 0 }) },
    { what: 'slow', fault: toxic('bandwidth', { rate: 100 }) },
    { what: 'late', fault: toxic('latency', { latency: Math.round(dice.between(50, 2_000)), jitter: 50 }) },
  ]);
}

/** The primary of Redis is killed, hangs, loses everything, is full, or hands over to its replica. */
async function failRedis(redis: Sentinels, deps: FaultDeps, signal: AbortSignal): Promise<void> {
  const dice = deps.dice.of('Redis');
  while (!signal.aborted) {
    await pass(dice.between(1_500, 5_000), signal);
    if (signal.aborted) return;
    const kind = dice.pick(redisFaults);
    const primary = await redis.primary();
    deps.ledger.count('faults', kind.what);
    await kind.begin(primary, redis);
    await pass(dice.between(500, 6_000), signal);
    await kind.end(primary);
    if ((await redis.primary()) !== primary) deps.ledger.count('faults', 'Redis failed over by its Sentinels');
  }
}

const redisFaults: readonly {
  readonly what: string;
  readonly begin: (primary: TestRedis, redis: Sentinels) => Promise<void>;
  readonly end: (primary: TestRedis) => Promise<void>;
}[] = [
  { what: 'Redis killed', begin: (primary) => primary.kill(), end: (primary) => primary.start() },
  { what: 'Redis frozen', begin: async (primary) => primary.pause(), end: async (primary) => primary.resume() },
  { what: 'Redis flushed', begin: (primary) => primary.flush(), end: async () => {} },
  { what: 'Redis full', begin: (primary) => primary.fill(), end: (primary) => primary.empty() },
  {
    what: 'Redis told to fail over',
    // The Sentinels refuse while the last failover is not complete.
    begin: (_, redis) => redis.failOver().catch(() => {}),
    end: async () => {},
  },
];

/** The bucket refuses a share of its requests for a while. */
async function throttleBucket(bucket: Throttle, deps: FaultDeps, signal: AbortSignal): Promise<void> {
  const dice = deps.dice.of('bucket');
  while (!signal.aborted) {
    await pass(dice.between(2_000, 6_000), signal);
    bucket.share = dice.between(0.2, 1);
    await pass(dice.between(500, 5_000), signal);
    bucket.share = 0;
  }
}

/** Waits for `ms`, or until the signal aborts. */
async function pass(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {}); // The caller checks the signal.
}
