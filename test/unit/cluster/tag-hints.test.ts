import { expect, test } from 'vitest';
import { maxWaiting } from '../../../src/cluster/tag-hints.ts';
import type { TagRecord } from '../../../src/mirror/ports/record-store.ts';
import type { TagClaim, TagTurn } from '../../../src/mirror/ports/shared-work.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { ociManifest } from '../../../src/oci/media-types.ts';
import { parseTag } from '../../../src/oci/reference.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { redisTools, startRedis } from '../../support/redis.ts';
import { startRedisCluster } from '../../support/redis-servers.ts';
import { describeWithTools } from '../../support/tools.ts';
import { contentNamed, longTimes, type Replicated, shortTimes, startReplica, startReplicas } from './start-replicas.ts';

const { repositoryId } = contentNamed('layer');
const tag = parseTag('latest');
const record: TagRecord = {
  digest: digestOf(Buffer.from('manifest')),
  mediaType: ociManifest,
  size: 8,
  confirmedAtMs: 0,
};
const signal = AbortSignal.timeout(60_000);

const turnOf = (replica: Replicated | undefined, waiting = { signal }): Promise<TagTurn> => {
  if (replica === undefined) throw new Error('no such replica');
  return replica.tags.turn(repositoryId, tag, waiting);
};

async function claimOf(replica: Replicated | undefined): Promise<TagClaim> {
  const turn = await turnOf(replica);
  if (turn.kind !== 'ask') throw new Error('the tag was answered');
  return turn.claim;
}

async function startTwo(times = longTimes) {
  const redis = await startRedis();
  const [a, b] = await startReplicas(redis.settings, ['a', 'b'], { times });
  return { redis, a, b };
}

describeWithTools(redisTools, 'hints of tags', () => {
  test('of replicas that look a tag up at once, one asks, and the others get its answer', async () => {
    const { a, b } = await startTwo({ ...longTimes, mostWaitMs: 30_000 });
    const claim = await claimOf(a);
    const others = [turnOf(b), turnOf(b)];
    await expect.poll(() => b?.observer.leases.length).toBe(2);
    claim.answered(record, 60_000);
    for (const turn of await Promise.all(others)) {
      expect(turn).toMatchObject({ kind: 'answered', record: { digest: record.digest, size: 8 } });
    }
    expect(b?.observer.leases.map(({ what }) => what)).toEqual(['waited', 'waited']);
  });

  test('an answer is as old for the others as it is, whatever their clocks say', async () => {
    const redis = await startRedis();
    const clock = new ManualClock(Date.now() + 3_600_000);
    const a = await startReplica(redis.settings, 'a');
    const hour = await startReplica(redis.settings, 'hour-ahead', { clock });
    (await claimOf(a)).answered(record, 60_000);
    await expect.poll(async () => (await turnOf(hour)).kind).toBe('answered');
    await redis.ask('PEXPIRE', `layerwell:v1:cluster:{docker.io/library/alpine:latest}:tag`, '45000');
    const turn = await turnOf(hour);
    if (turn.kind !== 'answered') throw new Error('the tag is unknown');
    const ageMs = clock.now() - turn.record.confirmedAtMs;
    expect(ageMs).toBeGreaterThanOrEqual(15_000);
    expect(ageMs).toBeLessThan(20_000);
  });

  test('an answer is told for as long as it is fresh, and one that is never fresh is not told', async () => {
    const { redis, a, b } = await startTwo();
    const claim = await claimOf(a);
    claim.answered(record, 0);
    claim[Symbol.dispose]();
    const again = await claimOf(b);
    again.answered(record, 80);
    await expect.poll(async () => (await turnOf(a)).kind).toBe('ask');
    (await claimOf(a)).answered(record, Number.POSITIVE_INFINITY);
    await expect.poll(async () => (await turnOf(b)).kind).toBe('answered');
    expect(await redis.ask('DBSIZE')).toBe('2'); // The hint, and the replicas.
  });

  test('a claim without an answer is over when it is disposed: the next replica asks', async () => {
    const { a, b } = await startTwo({ ...longTimes, mostWaitMs: 30_000 });
    const claim = await claimOf(a);
    const other = turnOf(b);
    await expect.poll(() => b?.observer.leases.length).toBe(1);
    claim[Symbol.dispose]();
    expect((await other).kind).toBe('ask');
  });

  test('an upstream that takes longer than a claim lasts is asked once: the claim is renewed', async () => {
    const { redis, a, b } = await startTwo({ ...longTimes, renewMs: 50, mostWaitMs: 30_000 });
    const claim = await claimOf(a);
    const other = turnOf(b);
    await expect.poll(() => b?.observer.leases.length).toBe(1);
    const lease = 'layerwell:v1:cluster:{docker.io/library/alpine:latest}:tag-lease';
    await redis.ask('PEXPIRE', lease, '5000');
    await expect.poll(async () => Number(await redis.ask('PTTL', lease))).toBeGreaterThan(10_000);
    claim.answered(record, 60_000);
    expect((await other).kind).toBe('answered');
    expect(b?.observer.leases.map(({ what }) => what)).toEqual(['waited']);
  });

  test('the claim of a replica that died expires', async () => {
    const { a, b } = await startTwo({ ...shortTimes, mostWaitMs: 30_000 });
    await claimOf(a);
    await a?.connection.stop({ signal });
    expect((await turnOf(b)).kind).toBe('ask');
    expect(b?.observer.leases.map(({ what }) => what)).toEqual(['waited', 'taken_over']);
  });

  test('a claim that never expires holds nobody up', async () => {
    const { redis, b } = await startTwo();
    await redis.ask('SET', 'layerwell:v1:cluster:{docker.io/library/alpine:latest}:tag-lease', 'nobody token');
    expect((await turnOf(b)).kind).toBe('ask');
    expect(b?.observer.leases.map(({ what }) => what)).toEqual(['taken']);
  });

  test('a replica asks itself when the other takes too long, and its late claim harms nobody', async () => {
    const { redis, a, b } = await startTwo({ ...longTimes, mostWaitMs: 200 });
    const claim = await claimOf(a);
    const turn = await turnOf(b);
    if (turn.kind !== 'ask') throw new Error('the tag was answered');
    turn.claim.answered(record, 60_000);
    turn.claim[Symbol.dispose]();
    expect(await redis.ask('GET', 'layerwell:v1:cluster:{docker.io/library/alpine:latest}:tag-lease')).toMatch(/^a /);
    claim[Symbol.dispose]();
    expect((await turnOf(b)).kind).toBe('ask');
  });

  test('a replica that froze, and wakes with an old answer when others have asked since, does not tell it', async () => {
    const { redis, a, b } = await startTwo({ ...longTimes, renewMs: 10 });
    const frozen = await claimOf(a);
    await redis.ask('DEL', 'layerwell:v1:cluster:{docker.io/library/alpine:latest}:tag-lease'); // Expired.
    (await claimOf(b)).answered({ ...record, size: 9 }, 60_000);
    const told = () => redis.ask('GET', 'layerwell:v1:cluster:{docker.io/library/alpine:latest}:tag');
    await expect.poll(told).toContain('"size":9');
    const renewals = () => a?.observer.answered.filter(({ command }) => command === 'extend').length ?? 0;
    const before = renewals();
    await expect.poll(renewals).toBeGreaterThan(before + 1);
    frozen.answered(record, 60_000);
    await a?.connection.call('ping', { command: 'PING', args: [] });
    expect(await told()).toContain('"size":9');
    expect(await turnOf(b)).toMatchObject({ kind: 'answered', record: { size: 9 } });
  });

  test('whoever leaves while it waits gets the reason of its signal', async () => {
    const { a, b } = await startTwo({ ...longTimes, mostWaitMs: 30_000 });
    await claimOf(a);
    const leaving = new AbortController();
    const waiting = turnOf(b, { signal: leaving.signal });
    await expect.poll(() => b?.observer.leases.length).toBe(1);
    leaving.abort(new Error('the client left'));
    await expect(waiting).rejects.toThrow('the client left');
  });

  test('beyond the bound of those that wait, a replica asks itself', async () => {
    const { a, b } = await startTwo({ ...longTimes, mostWaitMs: 60_000, firstPollMs: 30_000, lastPollMs: 30_000 });
    await claimOf(a);
    const leaving = new AbortController();
    const waiting = Array.from({ length: maxWaiting }, () => turnOf(b, leaving));
    const over = Promise.allSettled(waiting);
    await expect.poll(() => b?.observer.leases.length).toBe(maxWaiting);
    expect((await turnOf(b)).kind).toBe('ask');
    leaving.abort();
    expect((await over).every(({ status }) => status === 'rejected')).toBe(true);
  });

  test('a hint that is malformed is no answer', async () => {
    const { redis, a } = await startTwo();
    const key = 'layerwell:v1:cluster:{docker.io/library/alpine:latest}:tag';
    await redis.ask('SET', key, '{"digest":"x"}', 'PX', '60000');
    expect((await turnOf(a)).kind).toBe('ask');
    await redis.ask('SET', key, JSON.stringify({ ...record, lifetimeMs: 60_000 })); // Without an expiry.
    expect((await turnOf(a)).kind).toBe('ask');
    await redis.ask('EVAL', `redis.call('SET', KEYS[1], string.rep('x', 10 * 1024 * 1024))`, '1', key);
    const answered = async () => {
      const turn = await turnOf(a);
      if (turn.kind === 'ask') turn.claim.answered(record, 60_000);
      return turn.kind;
    };
    expect(await answered()).toBe('ask');
    await expect.poll(answered).toBe('answered');
  });

  test('without Redis, and while it hangs, each replica asks itself', async () => {
    const { redis, a, b } = await startTwo();
    redis.pause();
    const startedMs = performance.now();
    for (let i = 0; i < 50; i += 1) expect((await turnOf(a)).kind).toBe('ask');
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    await redis.kill();
    expect((await turnOf(b)).kind).toBe('ask');
  });

  test('in a Cluster of Redis too', async () => {
    const cluster = await startRedisCluster();
    const [a, b] = await startReplicas(cluster.settings, ['a', 'b']);
    (await claimOf(a)).answered(record, 60_000);
    await expect.poll(async () => (await turnOf(b)).kind).toBe('answered');
  });
});
