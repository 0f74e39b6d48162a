import { describe, expect, test } from 'vitest';
import { authorityOf } from '../../../../src/commands/health.ts';
import { isLoopback } from '../../../../src/http/management/guard.ts';
import { configOf, problemsWith } from '../../../support/config.ts';

const small = { upstreams: { 'quay.io': {} } };
const secret = 'a-secret-of-at-least-thirty-two-bytes';
const clusterWith = (keys: object) => ({ redis: { url: 'redis://redis' }, secret, ...keys });

describe('a replica advertises an IPv6 address with or without brackets', () => {
  test.each([
    ['http://fd00::7:5002', 'http://[fd00::7]:5002'],
    ['http://[fd00::7]:5002', 'http://[fd00::7]:5002'],
    ['http://fd00:0:0:0:0:0:0:7:5002', 'http://[fd00:0:0:0:0:0:0:7]:5002'],
    ['http://fd00:0:0:0:0:0:0:5002', 'http://[fd00:0:0:0:0:0:0:5002]'],
    ['http://fd00:::5002', 'http://[fd00::]:5002'],
    ['http://::1:5002', 'http://[::1]:5002'],
    ['https://::ffff:10.0.0.7:5002/', 'https://[::ffff:10.0.0.7]:5002/'],
    ['http://fd00::7', 'http://[fd00::7]'],
    ['http://10.0.0.7:5002', 'http://10.0.0.7:5002'],
    ['http://layerwell-0.layerwell:5002', 'http://layerwell-0.layerwell:5002'],
    ['http://cafe:5002', 'http://cafe:5002'],
  ])('%s', async (advertise, url) => {
    const { cluster } = await configOf({ ...small, cluster: clusterWith({ advertise }) });
    expect(cluster?.advertise).toBe(url);
    expect(new URL(url).host).not.toBe('');
  });

  test.each(['http://fd00::7::1:5002', 'http://fd00::7:70000', 'http://[fd00::7:5002', 'ws://fd00::7:5002', 'fd00::7'])(
    '%s is refused',
    async (advertise) => {
      const problems = await problemsWith({ ...small, cluster: clusterWith({ advertise }) });
      expect(problems).toHaveLength(1);
      expect(problems[0]).toContain('cluster.advertise: expected an origin');
    },
  );
});

describe('a listener takes an IPv6 address with or without brackets', () => {
  test.each([
    ['[::]', '::'],
    ['::', '::'],
    ['[::1]', '::1'],
    ['127.0.0.1', '127.0.0.1'],
    ['[10.0.0.7]', '[10.0.0.7]'],
    ['localhost', 'localhost'],
  ])('%s', async (host, bound) => {
    const cluster = clusterWith({ advertise: 'http://a:5002', listen: { host } });
    const config = await configOf({ ...small, listen: { host }, management: { host }, cluster });
    expect([config.listen.host, config.management.host, config.cluster?.listen.host]).toEqual([bound, bound, bound]);
  });

  test('the health check asks at [::1], which needs no token of the management API', async () => {
    const { management } = await configOf({ ...small, management: { host: '[::1]' } });
    expect(authorityOf(management)).toBe('[::1]:5001');
    expect(isLoopback(management.host)).toBe(true);
  });
});

describe('Sentinels and nodes of Redis have an IPv6 address with or without brackets', () => {
  test.each([
    ['[fd00::1]:26379', 'fd00::1'],
    ['fd00::1:26379', 'fd00::1'],
    ['::1:26379', '::1'],
    ['redis-0.redis:26379', 'redis-0.redis'],
  ])('%s', async (sentinel, host) => {
    const redis = { sentinels: [sentinel], name: 'primary' };
    const { cluster } = await configOf({ ...small, cluster: clusterWith({ advertise: 'http://a:5002', redis }) });
    expect(cluster?.redis.place).toMatchObject({ sentinels: [{ host, port: 26_379 }] });
  });
});
