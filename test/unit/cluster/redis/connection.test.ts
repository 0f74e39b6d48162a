import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { RedisConnection } from '../../../../src/cluster/redis/connection.ts';
import { freePort } from '../../../support/free-port.ts';
import { thisTest } from '../../../support/owner.ts';
import { redisTools, startRedis, startTlsRedis, type TestRedis } from '../../../support/redis.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { describeWithTools } from '../../../support/tools.ts';
import { add, backoff, failure, startConnection } from './start-connection.ts';

const untilUp = (connection: RedisConnection) => expect.poll(() => connection.state.state).toBe('up');

describeWithTools(redisTools, 'a connection to Redis', () => {
  test('runs scripts, by their hash once they are known', async () => {
    const redis = await startRedis();
    const { connection, observer } = await startConnection(redis.settings);
    expect(connection.state).toMatchObject({ state: 'up' });
    expect(await add(connection)).toBe(2);
    expect(await add(connection)).toBe(4);
    expect(await redis.ask('INFO', 'commandstats')).toMatch(/cmdstat_eval:calls=1,/);
    expect(observer.answered.map(({ command, outcome }) => `${command} ${outcome}`)).toEqual([
      'increment ok',
      'increment ok',
    ]);
  });

  test('replies have the shapes of RESP2', async () => {
    const redis = await startRedis();
    const { connection } = await startConnection(redis.settings);
    const replies = await connection.batch('shapes', [
      { command: 'SET', args: ['text', 'ä'] },
      { command: 'GET', args: ['text'] },
      { command: 'GET', args: ['absent'] },
      { command: 'ZADD', args: ['sorted', 1.5, 'a', 2, 'b'] },
      { command: 'ZRANGE', args: ['sorted', 0, -1, 'WITHSCORES'] },
      { command: 'HSET', args: ['hash', 'field', 1] },
      { command: 'HGETALL', args: ['hash'] },
    ]);
    expect(replies).toEqual(['OK', 'ä', null, 2, ['a', '1.5', 'b', '2'], 1, ['field', '1']]);
  });

  test('a command of a batch that fails makes the batch fail', async () => {
    const redis = await startRedis();
    const { connection } = await startConnection(redis.settings);
    const calls = [
      { command: 'SET', args: ['text', 'a'] },
      { command: 'LPUSH', args: ['text', 'b'] },
    ];
    expect(await failure(connection.batch('wrong', calls))).toBe('refused');
  });

  test('starts without Redis, at once, and finds it when it comes', async () => {
    const port = await freePort();
    const startedMs = performance.now();
    const place = { kind: 'single', readUrl: async () => `redis://127.0.0.1:${port}` } as const;
    const { connection } = await startConnection({ place }, { backoff });
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    expect(connection.state).toMatchObject({ state: 'down', reason: 'connect' });
    expect(await failure(add(connection))).toBe('connect');
    await startRedis({ port });
    await untilUp(connection);
    expect(await add(connection)).toBe(2);
  });

  test('Redis that was killed and came back is used again, without a restart', async () => {
    const redis = await startRedis();
    const { connection, observer } = await startConnection(redis.settings, { backoff });
    await redis.kill();
    await expect.poll(() => connection.state.state).toBe('down');
    expect(await failure(add(connection))).toBe('connect');
    await redis.start();
    await untilUp(connection);
    expect(await add(connection)).toBe(2);
    expect(observer.changes.map(({ state }) => state).filter((state, i, all) => state !== all[i - 1])).toEqual([
      'connecting',
      'up',
      'down',
      'up',
    ]);
  });

  test('Redis that hangs costs one timeout, not one for each command', async () => {
    const redis = await startRedis();
    const { connection, observer } = await startConnection(redis.settings);
    redis.pause();
    const startedMs = performance.now();
    for (let i = 0; i < 100; i += 1) await failure(add(connection));
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    // Those after the first found no connection: nothing was sent.
    expect(observer.answered.filter(({ durationMs }) => durationMs > 100)).toHaveLength(1);
    expect(connection.state).toMatchObject({ state: 'down', reason: 'timeout' });
    redis.resume();
    await untilUp(connection);
    expect(await add(connection)).toBeGreaterThan(0);
  });

  test('Redis that answers a handshake and then hangs is asked less and less', async () => {
    const redis = await startRedis();
    const { connection, observer } = await startConnection(redis.settings, { backoff, random: () => 0.5 });
    await redis.ask('CLIENT', 'PAUSE', '100000', 'WRITE');
    const timeouts = () => observer.answered.filter(({ outcome }) => outcome === 'timeout').length;
    for (let i = 1; i <= 3; i += 1) {
      await untilUp(connection);
      await failure(add(connection));
      expect(timeouts()).toBe(i);
    }
    const beganMs = performance.now();
    await untilUp(connection);
    expect(performance.now() - beganMs).toBeGreaterThan(700);
  });

  test('a reply that came while this process was busy is no timeout', async () => {
    const redis = await startRedis();
    const { connection } = await startConnection(redis.settings);
    await add(connection);
    const waiting = failure(add(connection));
    for (const endMs = performance.now() + 500; performance.now() < endMs; );
    expect(await waiting).toBe('none');
    expect(connection.state.state).toBe('up');
  });

  test('more commands than may wait fail at once', async () => {
    const redis = await startRedis();
    // All are sent before the first times out, on a busy machine too.
    const { connection } = await startConnection(redis.settings, { commandWithinMs: 3_000 });
    redis.pause();
    const outcomes = await Promise.all(Array.from({ length: 5_000 }, () => failure(add(connection))));
    expect(outcomes.filter((outcome) => outcome === 'busy')).toHaveLength(5_000 - 4_096);
    expect(outcomes.filter((outcome) => outcome === 'timeout')).toHaveLength(4_096);
  });

  test('a batch above its bound is refused', async () => {
    const redis = await startRedis();
    const { connection } = await startConnection(redis.settings);
    const calls = Array.from({ length: 1_001 }, () => ({ command: 'PING', args: [] }));
    expect(() => connection.batch('pings', calls)).toThrow(RangeError);
    expect(await connection.batch('pings', calls.slice(1))).toHaveLength(1_000);
  });

  test('Redis that was flushed knows scripts no more, and they run', async () => {
    const redis = await startRedis();
    const { connection } = await startConnection(redis.settings);
    await add(connection);
    await redis.ask('SCRIPT', 'FLUSH');
    await redis.flush();
    expect(await add(connection)).toBe(2);
  });

  test('Redis whose memory is full refuses writes and stays up', async () => {
    const redis = await startRedis();
    const { connection } = await startConnection(redis.settings);
    await redis.fill();
    expect(await failure(add(connection))).toBe('full');
    expect(await failure(connection.call('set', { command: 'SET', args: ['a', 'b'] }))).toBe('full');
    expect(await connection.call('get', { command: 'GET', args: ['a'] })).toBe(null);
    expect(connection.state.state).toBe('up');
    await redis.empty();
    expect(await add(connection)).toBe(2);
  });

  test('Redis that became a replica is left, and used once it takes writes again', async () => {
    const redis = await startRedis();
    const { connection } = await startConnection(redis.settings, { backoff });
    await add(connection);
    await redis.ask('REPLICAOF', '127.0.0.1', String(await freePort()));
    expect(['readonly', 'unready']).toContain(await failure(add(connection)));
    await redis.ask('REPLICAOF', 'NO', 'ONE');
    await untilUp(connection);
    await expect.poll(() => failure(add(connection))).toBe('none');
  });

  test('a policy that may evict keys without expiry is told', async () => {
    const redis = await startRedis({ config: ['maxmemory-policy allkeys-lru'] });
    const { connection, observer } = await startConnection(redis.settings);
    expect(connection.state).toMatchObject({ state: 'up', harmfulPolicy: 'allkeys-lru' });
    expect(observer.changes.at(-1)).toMatchObject({ harmfulPolicy: 'allkeys-lru' });
  });

  test('a policy that is changed while Redis runs is told, and that it is good again', async () => {
    const redis = await startRedis();
    const { connection, observer } = await startConnection(redis.settings, { policyEveryMs: 20 });
    expect(connection.state.harmfulPolicy).toBeUndefined();
    await redis.ask('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lfu');
    await expect
      .poll(() => connection.state, { timeout: 10_000 })
      .toMatchObject({ state: 'up', harmfulPolicy: 'allkeys-lfu' });
    expect(observer.changes.at(-1)).toMatchObject({ state: 'up', harmfulPolicy: 'allkeys-lfu' });
    await redis.ask('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    await expect.poll(() => connection.state.harmfulPolicy, { timeout: 10_000 }).toBeUndefined();
    const changes = observer.changes.length;
    expect(await add(connection)).toBe(2);
    expect(observer.changes).toHaveLength(changes);
  });

  test('the stop is quick, also while a server that says nothing is being connected', async () => {
    const redis = await startRedis();
    redis.pause();
    const readUrl = async () => `redis://u:p@127.0.0.1:${redis.port}`;
    const { connection } = await startConnection({ place: { kind: 'single', readUrl } });
    const startedMs = performance.now();
    await connection.stop({ signal: AbortSignal.timeout(5_000) });
    expect(performance.now() - startedMs).toBeLessThan(3_000);
  });

  test('the stop is quick, also while Redis hangs', async () => {
    const redis = await startRedis();
    const { connection } = await startConnection(redis.settings);
    redis.pause();
    const waiting = failure(add(connection));
    const startedMs = performance.now();
    await connection.stop({ signal: AbortSignal.timeout(5_000) });
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    expect(await waiting).not.toBe('none');
    expect(await failure(add(connection))).toBe('stopped');
  });
});

describeWithTools(redisTools, 'who connects to Redis', () => {
  const user = 'layerwell on >first ~* +@all';
  const single = (redis: TestRedis) => redis.settings.place;

  test('a user of its ACL may be refused INFO', async () => {
    const redis = await startRedis({ user: 'layerwell on >first ~* +@all -info' });
    const settings = { place: single(redis), username: 'layerwell', readPassword: async () => 'first' };
    const { connection } = await startConnection(settings);
    expect(await add(connection)).toBe(2);
  });

  test('user and password may be in the URL', async () => {
    const redis = await startRedis({ user: 'layerwell on >p@ss ~* +@all' });
    const readUrl = async () => `redis://layerwell:p%40ss@127.0.0.1:${redis.port}/3`;
    const { connection } = await startConnection({ place: { kind: 'single', readUrl } });
    expect(await add(connection)).toBe(2);
  });

  test('a command that the ACL refuses fails, and the connection stays', async () => {
    const redis = await startRedis({ user: 'layerwell on >first ~allowed +@all' });
    const settings = { place: single(redis), username: 'layerwell', readPassword: async () => 'first' };
    const { connection } = await startConnection(settings);
    expect(await failure(add(connection, 'other'))).toBe('refused');
    expect(await add(connection, 'allowed')).toBe(2);
  });

  test('a password that changes is read again from its file', async () => {
    const redis = await startRedis({ user });
    const file = join(await temporaryDirectory(), 'password');
    await writeFile(file, 'wrong');
    const readPassword = () => readFile(file, 'utf8');
    const settings = { place: single(redis), username: 'layerwell', readPassword };
    const { connection, observer } = await startConnection(settings, { backoff });
    expect(connection.state).toMatchObject({ state: 'down', reason: 'auth' });
    await writeFile(file, 'first');
    await untilUp(connection);
    expect(await add(connection)).toBe(2);
    expect(JSON.stringify(observer.changes)).not.toContain('wrong"');
  });

  test('TLS with a CA of ours', async () => {
    const { redis, caFile } = await startTlsRedis();
    const trusting = { place: single(redis), tls: { readCa: () => readFile(caFile, 'utf8') } };
    const { connection } = await startConnection(trusting);
    expect(await add(connection)).toBe(2);
    const { connection: distrusting } = await startConnection({ place: single(redis) });
    expect(distrusting.state).toMatchObject({ state: 'down', reason: 'tls' });
  });

  test('no password reaches an event, also when Redis is too old to know the user', async () => {
    const answer = (request: string) => `-ERR unknown command, with args beginning with: ${request}\r\n`;
    const server = createServer((socket) =>
      socket.on('data', (data) => socket.write(answer(String(data).replaceAll('\r\n', ' ')))),
    );
    const port = await freePort();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    thisTest(async () => void server.close());
    const readUrl = async () => `redis://someone:much-secret@127.0.0.1:${port}`;
    const { observer, connection } = await startConnection({ place: { kind: 'single', readUrl } });
    expect(connection.state.state).toBe('down');
    const told = observer.changes.map(({ cause }) => `${JSON.stringify(cause)} ${String(cause)}`).join('\n');
    expect(told).toContain('unknown command');
    expect(told).not.toContain('much-secret');
    await connection.stop({ signal: AbortSignal.timeout(1_000) });
  });
});
