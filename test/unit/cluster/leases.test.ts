import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { type Claim, maxHolders, maxLeases } from '../../../src/cluster/leases.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { redisTools, startRedis, type TestRedis } from '../../support/redis.ts';
import { startRedisCluster } from '../../support/redis-servers.ts';
import { describeWithTools } from '../../support/tools.ts';
import {
  contentNamed,
  longTimes,
  none,
  type Replicated,
  shortTimes,
  startReplica,
  startReplicas,
} from './start-replicas.ts';

const question = contentNamed('layer');

async function startThree(times = longTimes) {
  const redis = await startRedis();
  const replicas = await startReplicas(redis.settings, ['a', 'b', 'c'], { times });
  return { redis, replicas };
}

const claim = (replica: Replicated | undefined, failed: readonly string[] = [], asked = question): Promise<Claim> => {
  if (replica === undefined) throw new Error('no such replica');
  return replica.leases.claim(asked, { failed: new Set(failed) });
};

const eventsOf = (replica: Replicated | undefined) => replica?.observer.leases.map(({ what }) => what);

/** The value of the lease in Redis. */
async function leaseIn(redis: TestRedis, asked = question): Promise<string> {
  return redis.ask('GET', `layerwell:v1:cluster:{docker.io/${asked.digest}}:lease`);
}

describeWithTools(redisTools, 'leases of content', () => {
  test('of replicas that claim at once, exactly one downloads, and the others read from it', async () => {
    const { replicas } = await startThree();
    const claims = await Promise.all(replicas.flatMap((replica) => [claim(replica), claim(replica)]));
    const mine = claims.map(({ kind }) => kind === 'mine');
    const owner = replicas[Math.floor(mine.indexOf(true) / 2)]?.membership.self;
    expect(mine.filter(Boolean)).toHaveLength(2);
    for (const each of claims.filter(({ kind }) => kind !== 'mine')) {
      expect(each).toEqual({ kind: 'held', holder: owner, repository: 'library/alpine' });
    }
  });

  test('content of other upstreams is claimed for itself', async () => {
    const { replicas } = await startThree();
    const { digest, repositoryId } = question;
    expect((await claim(replicas[0])).kind).toBe('mine');
    const elsewhere = { digest, repositoryId: { ...repositoryId, upstream: 'quay.io' } };
    expect((await claim(replicas[1], [], elsewhere)).kind).toBe('mine');
  });

  test('a lease tells the repository that it was taken for', async () => {
    const { replicas } = await startThree();
    await claim(replicas[0], [], contentNamed('layer', 'team/app'));
    expect(await claim(replicas[1])).toMatchObject({ kind: 'held', repository: 'team/app' });
  });

  test('the first follower that gives the holder up takes over, and the others follow it', async () => {
    const { redis, replicas } = await startThree();
    const [, b, c] = replicas;
    await claim(replicas[0]);
    const before = await leaseIn(redis);
    const both = await Promise.all([claim(b, ['a']), claim(c, ['a'])]);
    expect(both.map(({ kind }) => kind).toSorted()).toEqual(['held', 'mine']);
    expect([...(eventsOf(b) ?? []), ...(eventsOf(c) ?? [])]).toContain('taken_over');
    expect(await leaseIn(redis)).not.toBe(before);
  });

  test('a replica that froze and wakes finds its lease gone, and releases nothing of the one that took over', async () => {
    const { redis, replicas } = await startThree({ ...shortTimes, lifetimeMs: 60_000, lingerMs: 60_000 });
    const [a, b] = replicas;
    const frozen = await claim(a);
    if (frozen.kind !== 'mine') throw new Error('a has no lease');
    const use = frozen.lease.use();
    await claim(b, ['a']);
    const taken = await leaseIn(redis);
    await expect.poll(() => eventsOf(a)).toEqual(['taken', 'lost']);
    use[Symbol.dispose]();
    await a?.leases.stop({ signal: AbortSignal.timeout(1_000) });
    expect(await leaseIn(redis)).toBe(taken);
  });

  test('the lease of a replica that died expires', async () => {
    const { redis, replicas } = await startThree(shortTimes);
    const [a, b] = replicas;
    await claim(a);
    await a?.connection.stop({ signal: AbortSignal.timeout(1_000) });
    expect((await claim(b)).kind).toBe('held');
    await expect.poll(async () => (await claim(b)).kind).toBe('mine');
    expect(await leaseIn(redis)).toMatch(/^b /);
  });

  test('a lease is renewed while it is used, and released a while after', async () => {
    const { redis, replicas } = await startThree(shortTimes);
    const taken = await claim(replicas[0]);
    if (taken.kind !== 'mine') throw new Error('a has no lease');
    const [one, other] = [taken.lease.use(), taken.lease.use()];
    one[Symbol.dispose]();
    one[Symbol.dispose]();
    const renewals = () => replicas[0]?.observer.answered.filter(({ command }) => command === 'renew').length;
    await expect.poll(renewals).toBeGreaterThan((3 * shortTimes.lifetimeMs) / shortTimes.renewMs);
    expect(await leaseIn(redis)).toMatch(/^a /);
    const releasedMs = performance.now();
    other[Symbol.dispose]();
    await expect.poll(() => leaseIn(redis), { interval: 20 }).toBe('');
    expect(performance.now() - releasedMs).toBeGreaterThan(shortTimes.lingerMs - 20);
  });

  test('a lease that Redis forgot is set again, and stays the same', async () => {
    const { redis, replicas } = await startThree(shortTimes);
    const taken = await claim(replicas[0]);
    if (taken.kind !== 'mine') throw new Error('a has no lease');
    using _ = taken.lease.use();
    const before = await leaseIn(redis);
    await redis.flush();
    await expect.poll(() => leaseIn(redis)).toBe(before);
    expect((await claim(replicas[1])).kind).toBe('held');
  });

  test('content that is stored has a holder, and no lease', async () => {
    const { redis, replicas } = await startThree();
    const [a, b, c] = replicas;
    await claim(a);
    a?.leases.stored(question);
    await expect.poll(() => claim(b)).toEqual({ kind: 'stored', holders: [a?.membership.self] });
    expect(await leaseIn(redis)).toBe('');
    b?.leases.stored(question);
    await expect.poll(async () => holdersIn(await claim(c))).toEqual(['a', 'b']);
    expect(holdersIn(await claim(c, ['a']))).toEqual(['b']);
    expect((await claim(c, ['a', 'b'])).kind).toBe('mine');
  });

  test('a holder that evicted the content, or does not have it, is not named again', async () => {
    const { replicas } = await startThree();
    const [a, b, c] = replicas;
    a?.leases.stored(question);
    b?.leases.stored(question);
    await expect.poll(async () => holdersIn(await claim(c))).toEqual(['a', 'b']);
    a?.leases.removed(question.digest);
    await expect.poll(async () => holdersIn(await claim(c))).toEqual(['b']);
    if (b) c?.leases.forget(question, b.membership.self);
    await expect.poll(async () => (await claim(c)).kind).toBe('mine');
  });

  test('content that a replica has in another repository is not looked for there', async () => {
    const { replicas } = await startThree();
    const [a, b] = replicas;
    a?.leases.stored(question);
    a?.leases.stored(contentNamed('layer', 'team/app'));
    await expect.poll(async () => holdersIn(await claim(b, [], contentNamed('layer', 'team/app')))).toEqual(['a']);
    expect(holdersIn(await claim(b))).toEqual(['a']);
    expect((await claim(b, [], contentNamed('layer', 'team/other'))).kind).toBe('mine');
    a?.leases.removed(question.digest); // In all of them.
    await expect.poll(async () => (await claim(b)).kind).toBe('mine');
    await expect.poll(async () => (await claim(b, [], contentNamed('layer', 'team/app'))).kind).toBe('mine');
  });

  test('holders that left are dropped', async () => {
    const { replicas } = await startThree(shortTimes);
    const [a, b] = replicas;
    a?.leases.stored(question);
    await expect.poll(async () => (await claim(b)).kind).toBe('stored');
    await a?.membership.leave({ signal: AbortSignal.timeout(1_000) });
    await expect.poll(async () => (await claim(b)).kind).toBe('mine');
  });

  test('no more holders are named than the bound', async () => {
    const redis = await startRedis();
    const one = await startReplica(redis.settings, 'one');
    const others = Array.from({ length: maxHolders + 4 }, (_, i) => `r${i}`);
    const replicas = await startReplicas(redis.settings, others);
    for (const { leases } of replicas) leases.stored(question);
    await one.membership.start();
    await expect
      .poll(() => redis.ask('ZCARD', `layerwell:v1:cluster:{docker.io/${question.digest}}:holders:library/alpine`))
      .toBe(String(maxHolders));
    await expect.poll(async () => holdersIn(await claim(one)).length).toBe(maxHolders);
  });

  test('beyond the bound of leases a replica downloads without telling the others', async () => {
    const { redis, replicas } = await startThree();
    const [a, b] = replicas;
    const names = Array.from({ length: maxLeases }, (_, i) => contentNamed(`layer ${i}`));
    await Promise.all(names.map((name) => claim(a, [], name)));
    expect((await claim(a)).kind).toBe('mine');
    expect(await leaseIn(redis)).toBe('');
    expect((await claim(b)).kind).toBe('mine');
    expect((await claim(a, [], contentNamed('layer 0'))).kind).toBe('mine');
  });

  test('a replica that stops releases its leases, and takes no more', async () => {
    const { redis, replicas } = await startThree();
    const [a, b] = replicas;
    await claim(a);
    await a?.leases.stop({ signal: AbortSignal.timeout(1_000) });
    expect(await leaseIn(redis)).toBe('');
    expect((await claim(b)).kind).toBe('mine');
    expect((await claim(a)).kind).toBe('mine');
    expect(await leaseIn(redis)).toMatch(/^b /);
  });

  test('without Redis each replica downloads for itself, and nothing waits', async () => {
    const { redis, replicas } = await startThree();
    await redis.kill();
    const startedMs = performance.now();
    for (let i = 0; i < 100; i += 1)
      expect((await claim(replicas[0], [], contentNamed(`layer ${i}`))).kind).toBe('mine');
    expect((await claim(replicas[1])).kind).toBe('mine');
    expect(performance.now() - startedMs).toBeLessThan(3_000);
  });

  test('while Redis hangs, a hundred claims cost one timeout', async () => {
    const { redis, replicas } = await startThree();
    redis.pause();
    const startedMs = performance.now();
    for (let i = 0; i < 100; i += 1)
      expect((await claim(replicas[0], [], contentNamed(`layer ${i}`))).kind).toBe('mine');
    expect(performance.now() - startedMs).toBeLessThan(3_000);
  });

  test('while Redis is full, each replica downloads for itself', async () => {
    const { redis, replicas } = await startThree();
    await redis.fill();
    expect((await claim(replicas[0])).kind).toBe('mine');
    expect((await claim(replicas[1])).kind).toBe('mine');
    expect(eventsOf(replicas[0])).toEqual([]);
    replicas[0]?.leases.stored(question);
    const named = () => replicas[0]?.observer.answered.find(({ command }) => command === 'holder')?.outcome;
    await expect.poll(named).toBe('full');
    await redis.empty();
    expect((await claim(replicas[0])).kind).toBe('mine');
    expect((await claim(replicas[1])).kind).toBe('held');
  });

  test('a replica whose clock is an hour wrong keeps and expires leases like the others', async () => {
    const redis = await startRedis();
    const clock = new ManualClock(Date.now() - 3_600_000);
    const wrong = await startReplica(redis.settings, 'wrong', { clock, times: { ...longTimes, lifetimeMs: 30_000 } });
    const right = await startReplica(redis.settings, 'right');
    await wrong.membership.start();
    expect((await claim(wrong)).kind).toBe('mine');
    expect((await claim(right)).kind).toBe('held');
    const leftMs = await redis.ask('PTTL', `layerwell:v1:cluster:{docker.io/${question.digest}}:lease`);
    expect(Number(leftMs)).toBeGreaterThan(20_000);
    right.leases.stored(question);
    await expect.poll(async () => holdersIn(await claim(wrong))).toEqual(['right']);
  });

  test('the rights that docs/failures.md names are enough', async () => {
    const rights = /`(\+@read[^`]*)`/.exec(await readFile('docs/failures.md', 'utf8'))?.[1];
    const redis = await startRedis({ user: `layerwell on >secret ~layerwell:* -@all ${rights}` });
    const { place } = redis.settings;
    const settings = { place, username: 'layerwell', readPassword: async () => 'secret' };
    const [a, b] = await startReplicas(settings, ['a', 'b']);
    expect([(await claim(a)).kind, (await claim(b)).kind]).toEqual(['mine', 'held']);
    a?.leases.stored(question);
    await expect.poll(async () => holdersIn(await claim(b))).toEqual(['a']);
    a?.leases.removed(question.digest);
    await expect.poll(async () => (await claim(b)).kind).toBe('mine');
    const failed = [...(a?.observer.answered ?? []), ...(b?.observer.answered ?? [])].filter(
      ({ outcome }) => outcome !== 'ok',
    );
    expect(failed).toEqual([]);
  });

  test('in a Cluster of Redis too', async () => {
    const cluster = await startRedisCluster();
    const [a, b] = await startReplicas(cluster.settings, ['a', 'b']);
    for (let i = 0; i < 12; i += 1) {
      const asked = contentNamed(`layer ${i}`);
      expect((await claim(a, [], asked)).kind).toBe('mine');
      expect((await claim(b, [], asked)).kind).toBe('held');
      a?.leases.stored(asked);
      await expect.poll(async () => holdersIn(await claim(b, [], asked))).toEqual(['a']);
    }
    expect(await claim(b, [...none], contentNamed('other'))).toMatchObject({ kind: 'mine' });
  });
});

function holdersIn(claimed: Claim): readonly string[] {
  return claimed.kind === 'stored' ? claimed.holders.map(({ id }) => id).toSorted() : [];
}
