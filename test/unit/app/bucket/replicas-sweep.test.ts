import { expect, test } from 'vitest';
import { startFakeS3, type FakeS3 } from '../../../support/fake-s3.ts';
import { gate } from '../../../support/gate.ts';
import { redisTools, startRedis } from '../../../support/redis.ts';
import { describeWithTools } from '../../../support/tools.ts';
import { keys, type ReplicaOptions, startSweepingReplica } from './sweeping-replicas.ts';

const maxBytes = 1_000_000;

function storedBytes({ objects }: FakeS3): number {
  const contents = [...objects].filter(([key]) => key.startsWith('v1/blobs/'));
  return contents.reduce((sum, [, bytes]) => sum + bytes.byteLength, 0);
}

async function replicas(count: number, more: Partial<ReplicaOptions> = {}) {
  const [s3, redis] = [await startFakeS3(), await startRedis()];
  const options = { settings: s3.settings, redis, maxBytes, ...more };
  const started = [];
  for (let at = 0; at < count; at += 1)
    started.push(await startSweepingReplica({ ...options, name: `replica-${at}`, isFirst: at === 0 }));
  return { s3, redis, replicas: started };
}

type Replicas = Awaited<ReturnType<typeof replicas>>['replicas'];

/** Each uploads in its turn. */
async function uploadInTurns(all: Replicas, bytes: number, blobs: number): Promise<void> {
  for (let at = 0; at < blobs; at += 1) await all[at % all.length]?.upload(bytes);
}

const sweeps = (s3: FakeS3) => s3.count('ListMultipartUploads');

describeWithTools(redisTools, 'replicas that share a bucket with a bound', () => {
  test('upload more than it holds, each less than that: the bucket is back below its bound at the next look, by one sweep', async () => {
    const { s3, replicas: all } = await replicas(3);
    await all[0]?.look(600_000); // The first sweep: the bucket is empty.
    await uploadInTurns(all, 100_000, 9);
    for (const each of all) await each.look();
    expect([sweeps(s3), storedBytes(s3)]).toEqual([1, 900_000]);
    await uploadInTurns(all, 100_000, 6);
    expect(storedBytes(s3)).toBe(1_500_000);
    // Nobody has uploaded more than half of the bound, and no pause is over.
    await all[2]?.look();
    expect(storedBytes(s3)).toBeLessThanOrEqual(maxBytes);
    for (const each of all) await each.look();
    expect(sweeps(s3)).toBe(2);
  });

  test('a sweep is due by time for one of them only, whoever is first', async () => {
    const { s3, replicas: all } = await replicas(3);
    for (const each of all.toReversed()) await each.look(600_000);
    expect(sweeps(s3)).toBe(1);
  });

  test('while Redis is away each counts its own uploads, and they are in the count when it is back', async () => {
    const { s3, redis, replicas: all } = await replicas(2);
    await all[0]?.look(600_000);
    await all[1]?.look();
    await redis.kill();
    await all[0]?.upload(600_000);
    await all[1]?.upload(600_000);
    for (const each of all) await each.look();
    expect(sweeps(s3)).toBe(1); // None of them has uploaded as much as there was room for.
    await all[1]?.upload(600_000);
    await all[1]?.look();
    expect(storedBytes(s3)).toBeLessThanOrEqual(maxBytes);
    await redis.start();
    for (const each of all)
      await expect.poll(async () => (await each.count.now()).isOfAll, { timeout: 10_000 }).toBe(true);
    expect(Number(await redis.ask('HGET', keys.bucket(), 'uploaded'))).toBe(602_112);
  });

  test('a Redis that was flushed costs no more than a fiftieth of the bound above it', async () => {
    const { s3, redis, replicas: all } = await replicas(2);
    await all[0]?.look(600_000);
    await uploadInTurns(all, 90_000, 10);
    await redis.flush();
    await uploadInTurns(all, 60_000, 2);
    await all[1]?.look();
    expect(storedBytes(s3)).toBeLessThanOrEqual(maxBytes);
  });

  test.each([
    ['HSET', 'uploaded', '1e300'],
    ['HSET', 'uploaded', '9223372036854775000'],
    ['HSET', 'uploaded', 'many', 'earlier', '-inf'],
    ['HSET', 'held', 'nothing', 'took', '-', 'swept', 'soon'],
    ['SET', 'text'],
  ])('a count that %s %s %s spoiled is right again after the next sweep', async (command, ...values) => {
    const { redis, replicas: all } = await replicas(1);
    await all[0]?.look(600_000);
    await redis.ask('DEL', keys.bucket());
    await redis.ask(command, keys.bucket(), ...values);
    await all[0]?.upload(50_000);
    await all[0]?.look(6 * 3_600_000);
    await all[0]?.upload(50_000);
    expect(await all[0]?.count.now()).toMatchObject({ isOfAll: true, uploadedBytes: 53_248, heldBytes: 53_248 });
  });

  test('a Redis that is flushed while one sweeps makes it count anew', async () => {
    const { s3, redis, replicas: all } = await replicas(2);
    const [listing, begun] = [gate(), gate()];
    s3.script = ({ operation }) => {
      if (operation !== 'ListObjectsV2') return undefined;
      begun.open();
      return { kind: 'held', until: listing.opened };
    };
    const looked = all[0]?.look(600_000);
    await begun.opened;
    await redis.flush();
    await all[1]?.upload(50_000);
    listing.open();
    await looked;
    expect(await all[1]?.count.now()).toMatchObject({ isOfAll: true, uploadedBytes: 53_248 });
    expect(await all[1]?.count.now()).toMatchObject({ heldBytes: 53_248 });
  });

  test('a replica that is killed while it sweeps leaves the count, and another one sweeps when its lease is over', async () => {
    const { s3, redis, replicas: all } = await replicas(2, { times: { lifetimeMs: 60_000, renewMs: 20_000 } });
    await all[0]?.look(600_000);
    await uploadInTurns(all, 300_000, 5);
    // As the killed one left it: its lease, and the sweep that began.
    await redis.ask('SET', keys.sweep(), 'killed token', 'PX', '60000');
    await all[0]?.count.sweepBegins();
    await all[1]?.look();
    expect(storedBytes(s3)).toBe(1_500_000);
    await redis.ask('DEL', keys.sweep());
    await all[1]?.look();
    expect(storedBytes(s3)).toBeLessThanOrEqual(maxBytes);
  });

  test('a sweep whose lease another replica took ends in the middle, removes nothing more and reports no failure', async () => {
    const { s3, redis, replicas: all } = await replicas(2, { times: { lifetimeMs: 60_000, renewMs: 10 } });
    const [first] = all;
    if (!first) return;
    await uploadInTurns(all, 300_000, 5);
    const [listing, begun] = [gate(), gate()];
    s3.script = ({ operation }) => {
      if (operation !== 'ListObjectsV2') return undefined;
      begun.open();
      return { kind: 'held', until: listing.opened };
    };
    const looked = first.look();
    await begun.opened;
    await redis.ask('SET', keys.sweep(), 'another token', 'PX', '60000');
    await looked; // Though the bucket does not answer.
    listing.open();
    expect(s3.count('DeleteObject')).toBe(0);
    expect(first.sweep.swept).toBeUndefined();
    expect(first.observer.failures).toEqual([]);
    expect(await redis.ask('GET', keys.sweep())).toBe('another token');
  });

  test('two of them look at the same time: one sweeps', async () => {
    const { s3, replicas: all } = await replicas(2);
    await uploadInTurns(all, 300_000, 5);
    const [listing, begun] = [gate(), gate()];
    s3.script = ({ operation }) => {
      if (operation !== 'ListMultipartUploads') return undefined;
      begun.open();
      return { kind: 'held', until: listing.opened };
    };
    const looked = all[0]?.look();
    await begun.opened;
    await all[1]?.look();
    listing.open();
    await looked;
    await all[1]?.look();
    expect(sweeps(s3)).toBe(1);
    expect(storedBytes(s3)).toBeLessThanOrEqual(maxBytes);
  });
});
