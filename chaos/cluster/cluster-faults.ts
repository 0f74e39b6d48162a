import { setTimeout as sleep } from 'node:timers/promises';
import type { LinkFaults, TcpProxy } from '../../test/replicas/harness/tcp-proxy.ts';
import type { TestRedis } from '../../test/support/redis.ts';
import type { Dice } from '../dice.ts';
import type { FaultDeps } from '../faults/inject.ts';
import type { Cluster, Member } from './cluster.ts';

/** Everything that can go wrong between replicas, at the same time, until the signal aborts. All is mended at the end. */
export async function failCluster(
  cluster: Cluster,
  deps: FaultDeps,
  { mayKill, signal }: { readonly mayKill: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const [, ...others] = cluster.members;
  await Promise.all([
    failRedis(cluster.redis, deps, signal),
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

/** A replica is partitioned from Redis, its siblings, the bucket, or all of them. */
async function failLinks({ name, links }: Member, deps: FaultDeps, signal: AbortSignal): Promise<void> {
  const dice = deps.dice.of(`links of ${name}`);
  const all = Object.entries(links).flatMap(([to, link]: [string, TcpProxy | undefined]) =>
    link ? [{ to, link }] : [],
  );
  while (!signal.aborted) {
    await pass(dice.between(1_000, 5_000), signal);
    if (signal.aborted) return;
    const failing = dice.isLucky(0.3) ? all : [dice.pick(all)];
    const { what, faults } = someFault(dice);
    for (const { to, link } of failing) {
      deps.ledger.count('faults', `link ${nameOf(to)}: ${what}`);
      link.fail(faults);
      if (faults.refuses) link.cut();
    }
    await pass(dice.between(500, 7_000), signal);
    for (const { link } of failing) link.mend();
  }
}

function nameOf(link: string): string {
  return link.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace('redis', 'Redis');
}

function someFault(dice: Dice): { readonly what: string; readonly faults: LinkFaults } {
  return dice.pick([
    { what: 'silent', faults: { isSilent: true } },
    { what: 'cut and refused', faults: { refuses: true } },
    { what: 'slow', faults: { bytesPerSecond: 100_000 } },
    { what: 'late', faults: { latencyMs: Math.round(dice.between(50, 2_000)) } },
  ]);
}

/** Redis is killed, hangs, loses everything, or is full. */
async function failRedis(redis: TestRedis, deps: FaultDeps, signal: AbortSignal): Promise<void> {
  const dice = deps.dice.of('Redis');
  const kinds: readonly { readonly what: string; break(): Promise<void>; mend(): Promise<void> }[] = [
    { what: 'Redis killed', break: () => redis.kill(), mend: () => redis.start() },
    { what: 'Redis frozen', break: async () => redis.pause(), mend: async () => redis.resume() },
    { what: 'Redis flushed', break: () => redis.flush(), mend: async () => {} },
    { what: 'Redis full', break: () => redis.fill(), mend: () => redis.empty() },
  ];
  while (!signal.aborted) {
    await pass(dice.between(2_000, 8_000), signal);
    if (signal.aborted) return;
    const kind = dice.pick(kinds);
    deps.ledger.count('faults', kind.what);
    await kind.break();
    await pass(dice.between(500, 6_000), signal);
    await kind.mend();
  }
}

/** Waits for `ms`, or until the signal aborts. */
async function pass(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {}); // The caller checks the signal.
}
