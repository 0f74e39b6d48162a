import { describe, expect, test } from 'vitest';
import { problemsWith, refusalOf } from '../../../support/config.ts';

const small = { upstreams: { 'ghcr.io': {} } };

describe('a configuration with many mistakes', () => {
  const wrong = {
    lisen: {},
    listen: { port: '5000', tls: { certFile: 'x' } },
    storage: { maxsize: '1GiB', minFree: '2Gi' },
    freshness: { tag: '1 minute', tags: [{ match: '**:x' }] },
    download: { maxConcurrent: 0, idleTimeout: 'forever' },
    defaultUpstream: 'x.y',
    upstreams: { 'ghcr.io': { url: 'ftp://x' }, 'quay.io': { aliases: ['ghcr.io'], credentials: [{ kind: 'gcp' }] } },
  };

  test('is rejected with all of them at once, each with its key', async () => {
    expect(new Set(await problemsWith(wrong))).toEqual(
      new Set([
        'lisen: unknown key; did you mean listen?',
        'listen.port: expected a number',
        'listen.tls.keyFile: missing',
        'storage.maxsize: unknown key; did you mean maxSize?',
        'storage.minFree: expected a size such as "50GiB" or "500MB"',
        'freshness.tag: expected a duration such as "90s" or "1h30m", or "forever"',
        'freshness.tags[0].tag: missing',
        'download.maxConcurrent: expected at least 1',
        'download.idleTimeout: expected a duration such as "90s" or "1h30m"',
        'defaultUpstream: expected the key or an alias of one of upstreams, not a pattern',
        'upstreams["ghcr.io"].url: expected a URL such as "https://registry.example.com"',
        'upstreams["quay.io"].aliases[0]: "ghcr.io" already stands for upstreams["ghcr.io"]',
        'upstreams["quay.io"].credentials[0].kind: expected one of "basic", "bearer-token", "docker-config", "exec", "google", "ecr", "ecr-public", "gitlab"',
        'upstreams["quay.io"].visibility: missing: with credentials it must say "public" (they only raise the rate limit) or "service" (what they can read is for every client)',
      ]),
    );
  });

  test('is named, with all of them in one message', async () => {
    const { message, problems } = await refusalOf(wrong);
    expect(message).toMatch(/^\/etc\/layerwell\/mirror\.config\.json is not usable:\n {2}- /);
    expect(message.split('\n')).toHaveLength(problems.length + 1);
  });
});

test.each([
  { what: 'an empty object', content: {}, says: 'upstreams: missing' },
  { what: 'no upstream', content: { upstreams: {} }, says: 'upstreams: expected at least one upstream' },
  { what: 'a list', content: [], says: 'expected an object' },
  {
    what: 'an upstream that is a word',
    content: { upstreams: { 'ghcr.io': 'yes' } },
    says: 'upstreams["ghcr.io"]: expected an object',
  },
  { what: 'a key nothing is like', content: { ...small, zebra: 1 }, says: 'zebra: unknown key' },
  {
    what: 'a shortened key',
    content: { ...small, storage: { verify: true } },
    says: 'storage.verify: unknown key; did you mean verifyReads?',
  },
  {
    what: 'a level that is none',
    content: { ...small, log: { level: 'loud' } },
    says: 'log.level: expected "error" or "warn" or "info" or "debug" or "trace" or "silent"',
  },
  {
    what: 'a port that is none',
    content: { ...small, listen: { port: 70_000 } },
    says: 'listen.port: expected at most 65535',
  },
  {
    what: 'text that is no JSON',
    content: '{\n  "upstreams": {,}\n}',
    says: 'line 2, column 17: expected a key in double quotes',
  },
])('$what is rejected', async ({ content, says }) => {
  expect(await problemsWith(content)).toEqual([says]);
});

test('an unreadable file is named with the reason', async () => {
  const { loadConfig } = await import('../../../../src/config/loading/load.ts');
  const loading = loadConfig({ file: '/nowhere/mirror.config.json', env: {} });
  await expect(loading).rejects.toMatchObject({ name: 'ConfigError', problems: ['it cannot be read: ENOENT'] });
});

test('$schema is for editors and changes nothing', async () => {
  expect(await problemsWith({ $schema: './mirror.config.schema.json', ...small, zebra: 1 })).toEqual([
    'zebra: unknown key',
  ]);
});

describe('a key or a value that this version does not use is rejected', () => {
  test.each([
    { content: { ...small, storage: { driver: 's3', bucket: 'b' } }, says: ['storage.driver: expected "filesystem"'] },
    {
      content: { ...small, index: { driver: 'postgres', url: 'r' } },
      says: ['index.driver: expected "sqlite" or "redis"'],
    },
    { content: { ...small, clients: { mode: 'basic' } }, says: ['clients.mode: expected "anonymous"'] },
    { content: { ...small, warm: { images: [] } }, says: ['warm: unknown key'] },
    {
      content: { ...small, management: { token: 't' } },
      says: ['management.token: unknown key; did you mean tokenFile?'],
    },
    {
      content: { upstreams: { 'ghcr.io': { visibility: 'client' } } },
      says: ['upstreams["ghcr.io"].visibility: expected "public" or "service"'],
    },
    {
      content: { upstreams: { 'my.io': { kind: 'hosted' } } },
      says: ['upstreams["my.io"].kind: expected "registry"'],
    },
  ])('$says', async ({ content, says }) => {
    expect(await problemsWith(content)).toEqual(says);
  });
});
