import { expect, test } from 'vitest';
import type { UpstreamConfig } from '../../../../src/config/schema.ts';
import { configOf } from '../../../support/config.ts';
import { defaultRules } from '../../../support/freshness-rules.ts';

const small = { upstreams: { 'ghcr.io': {} } };

async function upstreamOf(entry: object, name = 'ghcr.io', rest: object = {}): Promise<UpstreamConfig | undefined> {
  const { upstreams } = await configOf({ ...rest, upstreams: { [name]: entry } });
  return upstreams[0];
}

test('one upstream without settings is a complete configuration', async () => {
  const config = await configOf(small);
  expect(config).toMatchObject({
    listen: { host: '127.0.0.1', port: 5000 },
    management: { host: '127.0.0.1', port: 5001 },
    storage: {
      driver: 'filesystem',
      maxBytes: 50 * 1024 ** 3,
      minFreeBytes: 2 * 1024 ** 3,
      unusedForMs: 30 * 86_400_000,
      keep: [],
      scrubEveryMs: 7 * 86_400_000,
      scrubBytesPerSecond: 20 * 1024 ** 2,
      verifyReads: false,
    },
    freshness: {
      tagMs: 300_000,
      tags: [],
      missingMs: 30_000,
      staleForMs: Infinity,
      staleOn: defaultRules.staleOn,
      deletedUpstream: 'serve',
      offline: false,
    },
    download: {
      maxConcurrent: 64,
      maxAbandoned: 16,
      minBytesPerSecond: 4096,
      idleTimeoutMs: 30_000,
      attemptsWithoutProgress: 5,
      bufferBudgetBytes: 128 * 1024 ** 2,
    },
    clients: { mode: 'anonymous', idleTimeoutMs: 300_000, maxConnections: 10_000, maxRequests: 4_000 },
    defaultUpstream: 'ghcr.io',
    shutdown: { preStopMs: 0, drainMs: 25_000 },
    log: { level: 'info' },
  });
  expect(config.upstreams).toMatchObject([
    {
      name: 'ghcr.io',
      isPattern: false,
      url: 'https://ghcr.io',
      visibility: 'public',
      credentials: [],
      allow: ['**'],
      deny: [],
    },
  ]);
});

test('relative paths start at the folder of the file, given or by default', async () => {
  const given = await configOf({
    ...small,
    listen: { tls: { certFile: 'tls/cert.pem', keyFile: '/abs/key.pem' } },
    storage: { path: '../cache' },
    upstreams: { 'ghcr.io': { tls: { caFile: 'ca.pem' } } },
  });
  expect(given.listen.tls).toEqual({ certFile: '/etc/layerwell/tls/cert.pem', keyFile: '/abs/key.pem' });
  expect(given.storage.path).toBe('/etc/cache');
  expect(given.upstreams[0]?.tls.caFile).toBe('/etc/layerwell/ca.pem');
  expect((await configOf(small)).storage.path).toBe('/etc/layerwell/data');
});

test('the index is in the store unless it is configured elsewhere', async () => {
  const storage = { path: '/cache' };
  expect((await configOf({ ...small, storage })).index).toEqual({ driver: 'sqlite', path: '/cache/index.sqlite' });
  expect((await configOf({ ...small, storage, index: { path: '/fast/i' } })).index).toMatchObject({ path: '/fast/i' });
});

test('docker.io is reached where it serves images, not at its web site', async () => {
  expect((await upstreamOf({}, 'docker.io'))?.url).toBe('https://registry-1.docker.io');
});

test('an upstream with a port, or on plain HTTP, is reached there', async () => {
  expect((await upstreamOf({}, 'localhost:5000'))?.url).toBe('https://localhost:5000');
  expect((await upstreamOf({ url: 'http://10.0.0.7:5000/' }, 'lan'))?.url).toBe('http://10.0.0.7:5000');
});

test('a pattern has no URL of its own', async () => {
  const config = await configOf({ upstreams: { 'ghcr.io': {}, '*.dkr.ecr.*.amazonaws.com': {} } });
  expect(config.upstreams[1]).toMatchObject({ name: '*.dkr.ecr.*.amazonaws.com', isPattern: true, url: undefined });
});

test.each([
  { said: undefined, expected: 'docker.io' },
  { said: 'quay.io', expected: 'quay.io' },
  { said: 'index.docker.io', expected: 'docker.io' },
])('with defaultUpstream $said, names without a registry go to $expected', async ({ said, expected }) => {
  const upstreams = { 'quay.io': {}, 'docker.io': { aliases: ['index.docker.io'] } };
  expect((await configOf({ defaultUpstream: said, upstreams })).defaultUpstream).toBe(expected);
});

test('an upstream can override freshness; its tag rules are matched first', async () => {
  const common = {
    tag: '1m',
    tags: [{ match: '**:latest', tag: '10s' }],
    missing: '1s',
    offline: true,
    staleOn: { rateLimit: 'fail' },
  };
  const own = { tag: '1h', tags: [{ match: '**:v*', tag: 'forever' }], staleFor: '7d', offline: false };
  expect((await upstreamOf({ freshness: own }, 'ghcr.io', { freshness: common }))?.freshness).toEqual({
    tagMs: 3_600_000,
    tags: [
      { match: '**:v*', tagMs: Infinity },
      { match: '**:latest', tagMs: 10_000 },
    ],
    missingMs: 1000,
    staleForMs: 7 * 86_400_000,
    staleOn: { ...defaultRules.staleOn, rateLimit: 'fail' },
    deletedUpstream: 'serve',
    offline: false,
  });
});

test('an upstream has the timeouts of downloads, unless it sets its own', async () => {
  const rest = { download: { idleTimeout: '7s' } };
  expect((await upstreamOf({}, 'ghcr.io', rest))?.timeouts).toEqual({
    connectMs: 5000,
    headersMs: 20_000,
    idleMs: 7000,
    tokenMs: 15_000,
  });
  expect((await upstreamOf({ timeouts: { idle: '2s', connect: '1s' } }, 'ghcr.io', rest))?.timeouts).toMatchObject({
    connectMs: 1000,
    idleMs: 2000,
  });
});

test('every kind of credentials is loaded', async () => {
  const credentials = [
    { kind: 'basic', username: 'u', password: 'p' },
    { kind: 'basic', username: 'u', passwordFile: 'p', repositories: ['team/**'] },
    { kind: 'bearer-token', tokenFile: '/t' },
    { kind: 'docker-config', configFile: 'config.json' },
    { kind: 'exec', command: 'docker-credential-x', args: ['--quiet'], lifetime: '1m' },
    { kind: 'google' },
    { kind: 'ecr', region: 'eu-west-1' },
    { kind: 'ecr-public' },
    { kind: 'gitlab', username: 'u', token: 't' },
  ];
  expect((await upstreamOf({ credentials, visibility: 'public' }))?.credentials).toEqual([
    { kind: 'basic', repositories: ['**'], username: 'u', password: { kind: 'text', text: 'p' } },
    { kind: 'basic', repositories: ['team/**'], username: 'u', password: { kind: 'file', path: '/etc/layerwell/p' } },
    { kind: 'bearer-token', repositories: ['**'], token: { kind: 'file', path: '/t' } },
    { kind: 'docker-config', repositories: ['**'], configFile: '/etc/layerwell/config.json' },
    {
      kind: 'exec',
      repositories: ['**'],
      command: 'docker-credential-x',
      args: ['--quiet'],
      lifetimeMs: 60_000,
      timeoutMs: 10_000,
    },
    { kind: 'google', repositories: ['**'] },
    { kind: 'ecr', repositories: ['**'], region: 'eu-west-1' },
    { kind: 'ecr-public', repositories: ['**'] },
    { kind: 'gitlab', repositories: ['**'], username: 'u', token: { kind: 'text', text: 't' } },
  ]);
});

test('a proxy may have a user, and a mirror may have its own credentials', async () => {
  const entry = await upstreamOf({
    visibility: 'public',
    proxy: { https: 'http://u:p@proxy:3128', except: ['.corp'] },
    mirrors: [{ url: 'https://mirror.example.com', credentials: [{ kind: 'bearer-token', token: 't' }] }],
  });
  expect(entry).toMatchObject({
    proxy: { https: 'http://u:p@proxy:3128', except: ['.corp'] },
    mirrors: [
      { url: 'https://mirror.example.com', tags: false, forwardNs: false, credentials: [{ kind: 'bearer-token' }] },
    ],
  });
});

test('the management listener may listen beyond loopback', async () => {
  expect((await configOf({ ...small, management: { host: '::' } })).management.host).toBe('::');
});

test('"docker.io": {} alone includes the other names of Docker Hub, and its token host', async () => {
  const config = await configOf({ defaultUpstream: 'index.docker.io', upstreams: { 'quay.io': {}, 'docker.io': {} } });
  expect(config.defaultUpstream).toBe('docker.io');
  expect(config.upstreams[1]).toMatchObject({
    url: 'https://registry-1.docker.io',
    aliases: ['index.docker.io', 'registry-1.docker.io'],
    realmHosts: ['auth.docker.io'],
  });
});

test('a name of Docker Hub that another upstream uses belongs to that upstream', async () => {
  const upstreams = { 'docker.io': {}, 'hub.test': { aliases: ['index.docker.io'] }, 'registry-1.docker.io': {} };
  expect((await configOf({ upstreams })).upstreams[0]?.aliases).toEqual([]);
});

test('docker.io with another URL has no default token host', async () => {
  expect((await upstreamOf({ url: 'https://hub.example.com' }, 'docker.io'))?.realmHosts).toEqual([]);
});
