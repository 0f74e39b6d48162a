import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readLongSecret } from '../../../../src/config/loading/files.ts';
import { configOf, problemsWith } from '../../../support/config.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const small = { upstreams: { 'quay.io': {} } };
const secret = 'a-secret-of-at-least-thirty-two-bytes';
const advertise = 'http://10.0.0.7:5002';

/** The index of a configuration, or its problems, without the path to it. */
async function indexOf(keys: object) {
  return (await configOf({ ...small, index: { driver: 'redis', ...keys } })).index;
}

async function problemsOf(keys: object): Promise<readonly string[]> {
  const problems = await problemsWith({ ...small, index: { driver: 'redis', ...keys } });
  return problems.map((problem) => problem.replace(/^index\.?/, ''));
}

describe('where Redis is', () => {
  test('one server, with user and password in the URL or beside it', async () => {
    expect(await indexOf({ url: 'redis://u:p@redis:6379/2' })).toMatchObject({
      driver: 'redis',
      redis: {
        place: { kind: 'single', url: { kind: 'text', text: 'redis://u:p@redis:6379/2' } },
        keyPrefix: 'layerwell',
      },
    });
    expect(await indexOf({ urlFile: 'url', username: 'u', passwordFile: 'p', database: 1 })).toMatchObject({
      redis: {
        place: { url: { kind: 'file', path: '/etc/layerwell/url' } },
        username: 'u',
        password: { kind: 'file', path: '/etc/layerwell/p' },
        database: 1,
      },
    });
  });

  test('Sentinels', async () => {
    const keys = { sentinels: ['sentinel-0:26379', '[::1]:26380'], name: 'layers', tls: { caFile: 'ca.pem' } };
    expect(await indexOf(keys)).toMatchObject({
      redis: {
        place: {
          kind: 'sentinel',
          name: 'layers',
          sentinels: [
            { host: 'sentinel-0', port: 26_379 },
            { host: '::1', port: 26_380 },
          ],
        },
        tls: { caFile: '/etc/layerwell/ca.pem' },
      },
    });
  });

  test('a Cluster', async () => {
    expect(await indexOf({ nodes: ['node:6379'], keyPrefix: 'mirror' })).toMatchObject({
      redis: { place: { kind: 'cluster', nodes: [{ host: 'node', port: 6_379 }] }, keyPrefix: 'mirror' },
    });
  });

  test.each([
    { keys: {}, says: ['url: missing: expected url, urlFile, sentinels or nodes'] },
    { keys: { url: 'http://redis' }, says: ['url: expected a URL such as redis://host:6379/0'] },
    { keys: { url: 'redis://redis/path' }, says: ['url: expected a URL such as redis://host:6379/0'] },
    { keys: { url: 'redis://r', urlFile: 'f' }, says: ['urlFile: expected url or urlFile, not both'] },
    {
      keys: { url: 'redis://r', nodes: ['n:1'] },
      says: ['nodes: expected only one of url, urlFile, sentinels and nodes'],
    },
    { keys: { sentinels: ['s:1'] }, says: ['name: missing: the name of the primary that the Sentinels watch'] },
    { keys: { sentinels: [], name: 'n' }, says: ['sentinels: expected at least one'] },
    { keys: { url: 'redis://r', name: 'n' }, says: ['name: only allowed with sentinels'] },
    { keys: { nodes: ['n'] }, says: ['nodes[0]: expected a host and a port, such as "redis-0.redis:6379"'] },
    { keys: { nodes: ['n:70000'] }, says: ['nodes[0]: expected a host and a port, such as "redis-0.redis:6379"'] },
    { keys: { nodes: ['n:1'], database: 1 }, says: ['database: a Cluster has database 0 only'] },
    {
      keys: { url: 'redis://r', password: 'a', passwordFile: 'b' },
      says: ['passwordFile: expected password or passwordFile, not both'],
    },
    {
      keys: { url: 'redis://r', keyPrefix: 'a{b}' },
      says: ['keyPrefix: expected at most 64 letters, digits, ".", "_" and "-"'],
    },
    { keys: { url: 'redis://r', path: 'i' }, says: ['path: not allowed with driver "redis"'] },
    { keys: { driver: 'sqlite', url: 'redis://r' }, says: ['url: not allowed with driver "sqlite"'] },
    { keys: { url: 'redis://r', host: 'h' }, says: ['host: unknown key'] },
  ])('$says', async ({ keys, says }) => {
    expect(await problemsOf(keys)).toEqual(says);
  });

  test('no problem quotes the URL, which may hold a password', async () => {
    expect((await problemsOf({ url: 'http://u:hunter2@redis' })).join()).not.toContain('hunter2');
  });
});

describe('the cluster', () => {
  const redis = { url: 'redis://shared' };
  const index = { driver: 'redis', url: 'redis://index', keyPrefix: 'mirror' };
  const problemsOfCluster = async (cluster: object, more: object = {}) => {
    const problems = await problemsWith({ ...small, ...more, cluster });
    return problems.map((problem) => problem.replace(/^cluster\.?/, ''));
  };

  test('is absent by default', async () => {
    expect((await configOf(small)).cluster).toBeUndefined();
  });

  test('uses the Redis of the index, unless it has its own', async () => {
    const own = await configOf({ ...small, index, cluster: { advertise, secret, redis } });
    expect(own.cluster).toMatchObject({
      usesRedisOfIndex: false,
      redis: { place: { url: { text: 'redis://shared' } }, keyPrefix: 'layerwell' },
      listen: { host: '::', port: 5_002 },
      secret: { kind: 'text', text: secret },
    });
    const shared = await configOf({ ...small, index, cluster: { advertise, secretFile: 's' } });
    expect(shared.cluster).toMatchObject({
      usesRedisOfIndex: true,
      redis: { place: { url: { text: 'redis://index' } }, keyPrefix: 'mirror' },
      secret: { kind: 'file', path: '/etc/layerwell/s' },
    });
  });

  test.each([
    { cluster: { advertise, secret }, says: ['redis: missing: index has no Redis either'] },
    { cluster: { advertise, redis }, says: ['secret: expected secret or secretFile'] },
    { cluster: { advertise, redis, secret: 'short' }, says: ['secret: expected at least 32 bytes'] },
    { cluster: { redis, secret }, says: ['advertise: missing'] },
    {
      cluster: { redis, secret, advertise: 'http://fd00::7::5002' },
      says: ['advertise: expected an origin such as "http://10.0.0.7:5002" or "http://[fd00::7]:5002"'],
    },
    {
      cluster: { redis, secret, advertise: 'http://a:1/path' },
      says: ['advertise: expected an origin such as "http://10.0.0.7:5002" or "http://[fd00::7]:5002"'],
    },
    {
      cluster: { redis, secret, advertise, previousSecret: secret, previousSecretFile: 'f' },
      says: ['previousSecretFile: expected previousSecret or previousSecretFile, not both'],
    },
    {
      cluster: { redis, secret, advertise, replicaName: 'a b' },
      says: ['replicaName: expected at most 64 letters, digits, ".", "_" and "-"'],
    },
    {
      cluster: { redis: {}, secret, advertise },
      says: ['redis.url: missing: expected url, urlFile, sentinels or nodes'],
    },
  ])('$says', async ({ cluster, says }) => {
    expect(await problemsOfCluster(cluster)).toEqual(says);
  });
});

test('a secret in a file has at least 32 bytes', async () => {
  const file = { kind: 'file', path: join(await temporaryDirectory(), 'secret') } as const;
  await writeFile(file.path, 'short');
  await expect(readLongSecret(file, 32)).rejects.toThrow('holds less than 32 bytes');
  await writeFile(file.path, `${secret}\n`);
  expect(await readLongSecret(file, 32)).toBe(secret);
});
