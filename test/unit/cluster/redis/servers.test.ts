import nodeTls from 'node:tls';
import { expect, test, vi } from 'vitest';
import { openClient } from '../../../../src/cluster/redis/client.ts';
import type { RedisSettings } from '../../../../src/cluster/redis/settings.ts';
import { type CertificateFiles, makeCertificateFiles } from '../../../support/certificate-files.ts';
import { redisTools, startRedis } from '../../../support/redis.ts';
import { startRedisCluster, startSentinels } from '../../../support/redis-servers.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { describeWithTools } from '../../../support/tools.ts';
import { contentNamed, none, type Replicated, shortTimes, startReplicas } from '../start-replicas.ts';
import { add, backoff, failure, startConnection } from './start-connection.ts';

describeWithTools(redisTools, 'Redis with several servers', () => {
  test('Sentinels name the new primary after a failover', async () => {
    const sentinels = await startSentinels();
    const { connection } = await startConnection(sentinels.settings, { backoff });
    expect(await add(connection)).toBe(2);
    const before = await sentinels.primary();
    await before.kill();
    await expect.poll(() => failure(add(connection)), { timeout: 20_000 }).toBe('none');
    expect((await sentinels.primary()).port).not.toBe(before.port);
  });

  test('Sentinels may have a password of their own', async () => {
    const { settings } = await startSentinels({ password: 'of-the-sentinels' });
    const { connection } = await startConnection(settings, { backoff });
    expect(await add(connection)).toBe(2);
    const { place } = settings;
    if (place.kind !== 'sentinel') throw new Error('no Sentinels');
    const wrong = { place: { ...place, readSentinelPassword: async () => 'wrong' } };
    const { connection: refused } = await startConnection(wrong, { backoff });
    expect(refused.state.state).toBe('down');
  });

  test('a Cluster runs each script where its key is', async () => {
    const cluster = await startRedisCluster();
    const { connection } = await startConnection(cluster.settings, { backoff });
    const keys = Array.from({ length: 30 }, (_, i) => `{key ${i}}:counter`);
    expect(await Promise.all(keys.map((key) => add(connection, key)))).toEqual(keys.map(() => 2));
    const sizes = await Promise.all(cluster.nodes.map((node) => node.ask('DBSIZE')));
    expect(sizes.map(Number).every((size) => size > 0)).toBe(true);
  });

  test('a Cluster that lost a server fails at once, and is used when it is back', async () => {
    const cluster = await startRedisCluster();
    const { connection } = await startConnection(cluster.settings, { backoff });
    const keys = Array.from({ length: 30 }, (_, i) => `{key ${i}}:counter`);
    await Promise.all(keys.map((key) => add(connection, key)));
    await cluster.nodes[0]?.kill();
    const outcomes = await Promise.all(keys.map((key) => failure(add(connection, key))));
    expect(new Set(outcomes).size).toBeGreaterThan(1);
    await cluster.nodes[0]?.start();
    const all = () => Promise.all(keys.map((key) => failure(add(connection, key))));
    await expect.poll(async () => new Set(await all()), { timeout: 20_000 }).toEqual(new Set(['none']));
  });

  test('a Cluster one of whose servers hangs costs a timeout, and is used when it answers again', async () => {
    const cluster = await startRedisCluster();
    const { connection, observer } = await startConnection(cluster.settings);
    const keys = Array.from({ length: 30 }, (_, i) => `{key ${i}}:counter`);
    await Promise.all(keys.map((key) => add(connection, key)));
    const before = observer.answered.length;
    cluster.nodes[0]?.pause();
    const startedMs = performance.now();
    for (const key of keys) await failure(add(connection, key));
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    const outcomes = observer.answered.slice(before).map(({ outcome }) => outcome);
    expect(outcomes.filter((outcome) => outcome === 'timeout').length).toBeLessThanOrEqual(2);
    cluster.nodes[0]?.resume();
    const all = () => Promise.all(keys.map((key) => failure(add(connection, key))));
    await expect.poll(async () => new Set(await all()), { timeout: 30_000 }).toEqual(new Set(['none']));
  });

  test('a Cluster that was down for want of a server is used when it is whole again', async () => {
    const cluster = await startRedisCluster();
    const { connection, observer } = await startConnection(cluster.settings, { backoff });
    const keys = Array.from({ length: 30 }, (_, i) => `{key ${i}}:counter`);
    const all = () => Promise.all(keys.map((key) => failure(add(connection, key))));
    await all();
    cluster.nodes[0]?.pause();
    await all();
    const state = async () => (await cluster.nodes[1]?.ask('CLUSTER', 'INFO'))?.split('\r\n')[0];
    await expect.poll(state, { timeout: 20_000 }).toContain('fail');
    await expect.poll(() => observer.changes.at(-1), { timeout: 20_000 }).toMatchObject({ reason: 'unready' });
    cluster.nodes[0]?.resume();
    await expect.poll(async () => new Set(await all()), { timeout: 30_000 }).toEqual(new Set(['none']));
  });

  test('leases are taken, held and taken over after a failover of Sentinel', async () => {
    const sentinels = await startSentinels();
    const [a, b] = await startReplicas(sentinels.settings, ['a', 'b'], { times: shortTimes });
    const kindOf = async (replica: Replicated | undefined, name: string) =>
      (await replica?.leases.claim(contentNamed(name), { failed: none }))?.kind;
    expect([await kindOf(a, 'before'), await kindOf(b, 'before')]).toEqual(['mine', 'held']);
    await (await sentinels.primary()).kill();
    expect([await kindOf(a, 'during'), await kindOf(b, 'during')]).toEqual(['mine', 'mine']);
    for (const replica of [a, b]) {
      await expect.poll(() => replica?.connection.state.state, { timeout: 20_000 }).toBe('up');
    }
    await expect
      .poll(async () => [await kindOf(a, 'after'), await kindOf(b, 'after')], { timeout: 20_000 })
      .toEqual(['mine', 'held']);
  });

  const secured: Readonly<Record<string, (tls: CertificateFiles) => Promise<RedisSettings>>> = {
    'one server': async (tls) => (await startRedis({ tls })).settings,
    Sentinels: async (tls) => (await startSentinels({ tls })).settings,
    'a Cluster': async (tls) => (await startRedisCluster({ tls })).settings,
  };

  test.each(Object.keys(secured))(
    'an alert of %s after its certificate was not trusted ends no process',
    async (name) => {
      const tls = await makeCertificateFiles(await temporaryDirectory(), 'redis');
      const settings = await secured[name]?.(tls);
      if (!settings) throw new Error('no servers');
      const connect = vi.spyOn(nodeTls, 'connect');
      const opening = openClient({ ...settings, tls: {} }, { signal: AbortSignal.timeout(20_000) });
      await expect(opening).rejects.toThrow(/self-signed/);
      const sockets = connect.mock.results.flatMap(({ value }) => (value instanceof nodeTls.TLSSocket ? [value] : []));
      connect.mockRestore();
      expect(sockets.length).toBeGreaterThan(0);
      // As Node does for an alert that arrives while the socket is being closed.
      for (const socket of sockets) socket.emit('error', new Error('tlsv1 alert decode error'));
    },
  );
});
