import { describe, expect, test } from 'vitest';
import { warningsOf } from '../../../../src/config/loading/checks.ts';
import { configOf, problemsWith } from '../../../support/config.ts';

const account = { kind: 'basic', username: 'u', password: 'p' };

/** The problems of one entry, without the path to it. */
async function problemsOf(entry: object, name = 'ghcr.io'): Promise<readonly string[]> {
  const path = `upstreams["${name}"]`;
  const problems = await problemsWith({ upstreams: { 'quay.io': {}, [name]: entry } });
  return problems.map((problem) => problem.replace(path, '').replace(/^\./, ''));
}

describe('the names of upstreams', () => {
  test.each([
    'ghcr.io',
    'localhost',
    'localhost:5000',
    '[::1]:5000',
    '127.0.0.1:5000',
    '*.pkg.dev',
    '*.dkr.ecr.*.amazonaws.com',
    '*.example.com:8443',
    '**.internal',
    '**',
  ])('%s is valid', async (name) => {
    expect((await configOf({ upstreams: { 'quay.io': {}, [name]: {} } })).upstreams[1]?.name).toBe(name);
  });

  test.each([
    'GHCR.io',
    'https://ghcr.io',
    'ghcr.io/',
    'a b',
    '-a.io',
    'a..io',
    '',
    '*-docker.pkg.dev',
    '***',
    'ghcr.io:*',
    'a_b.io',
    '*.x/y',
  ])('%j is rejected', async (name) => {
    expect((await problemsOf({}, name))[0]).toContain('expected a host such as "ghcr.io", or a pattern');
  });

  test('one name belongs to one upstream only', async () => {
    const upstreams = { 'a.io': { aliases: ['b.io', 'c.io'] }, 'b.io': {}, 'd.io': { aliases: ['c.io', 'd.io'] } };
    expect(await problemsWith({ upstreams })).toEqual([
      'upstreams["a.io"].aliases[0]: "b.io" already stands for upstreams["b.io"]',
      'upstreams["d.io"].aliases[0]: "c.io" already stands for upstreams["a.io"]',
      'upstreams["d.io"].aliases[1]: "d.io" already stands for upstreams["d.io"]',
    ]);
  });

  test('redirectHosts accepts a host, a pattern, and a host by plain HTTP', async () => {
    const redirectHosts = ['minio.x:9000', '*.cdn.x', 'http://minio.x:9000', 'http://[::1]'];
    expect((await configOf({ upstreams: { 'a.io': { redirectHosts } } })).upstreams[0]?.redirectHosts).toEqual(
      redirectHosts,
    );
  });

  test('a pattern, which matches many hosts, has neither a URL nor aliases', async () => {
    expect(await problemsOf({ url: 'https://x.io', aliases: ['x.io'] }, '*.x.io')).toEqual([
      'url: not allowed for a pattern, which matches many registries',
      'aliases: not allowed for a pattern, which matches many registries',
    ]);
  });

  test('a pattern can be neither the default upstream nor chosen as such', async () => {
    const message = 'defaultUpstream: expected the key or an alias of one of upstreams, not a pattern';
    expect(await problemsWith({ defaultUpstream: '*.x.io', upstreams: { '*.x.io': {}, 'a.io': {} } })).toContain(
      message,
    );
    expect(await problemsWith({ upstreams: { '*.x.io': {} } })).toEqual([
      'defaultUpstream: missing: all upstreams are patterns, none of which can be the default',
    ]);
  });
});

describe('a key that admits any host', () => {
  test.each(['**', '*', '*.*', '**:5000'])(
    '%s accepts no credentials: a client would choose who gets them',
    async (name) => {
      const entry = { credentials: [account, { kind: 'docker-config', configFile: 'c' }], visibility: 'public' };
      expect(await problemsOf(entry, name)).toEqual([
        'credentials[0]: not allowed for a pattern that matches every host: clients would choose which host gets it',
      ]);
      const tls = { certFile: 'c', keyFile: 'k' };
      expect(await problemsOf({ tls, visibility: 'public' }, name)).toEqual([
        'tls.certFile: not allowed for a pattern that matches every host: clients would choose which host gets it',
      ]);
    },
  );

  test.each(['*.pkg.dev', '**.internal', '*.dkr.ecr.*.amazonaws.com'])(
    '%s accepts credentials: it names whose hosts get them',
    async (name) => {
      const entry = { credentials: [account], visibility: 'public' };
      expect((await configOf({ upstreams: { 'quay.io': {}, [name]: entry } })).upstreams[1]?.hasIdentity).toBe(true);
    },
  );

  test('causes a warning', async () => {
    const warnings = warningsOf(await configOf({ upstreams: { 'quay.io': {}, '*.pkg.dev': {}, '**': {} } }));
    expect(warnings).toEqual([expect.stringMatching(/^upstreams\["\*\*"\]: matches every host/)]);
  });
});

describe('the visibility of what credentials can read', () => {
  test.each([
    { what: 'credentials', entry: { credentials: [account] } },
    { what: "a mirror's credentials", entry: { mirrors: [{ url: 'https://m', credentials: [account] }] } },
    { what: 'a client certificate', entry: { tls: { certFile: 'c', keyFile: 'k' } } },
  ])('must be configured for an upstream with $what', async ({ entry }) => {
    expect(await problemsOf(entry)).toEqual([expect.stringContaining('visibility: missing')]);
    expect(await problemsOf({ ...entry, visibility: 'public', deny: ['['] })).toHaveLength(1);
  });

  test('is "service" with anonymous clients only if allowAnonymous confirms it', async () => {
    const entry = { credentials: [account], visibility: 'service' };
    expect(await problemsOf(entry)).toEqual([expect.stringContaining('allowAnonymous: expected true')]);
    expect(await problemsOf({ ...entry, allowAnonymous: false })).toEqual([
      expect.stringContaining('allowAnonymous: expected true'),
    ]);
    expect(
      (await configOf({ upstreams: { 'a.io': { ...entry, allowAnonymous: true } } })).upstreams[0]?.visibility,
    ).toBe('service');
  });
});

test.each([
  {
    what: 'both a password and its file',
    entry: { credentials: [{ ...account, passwordFile: '/p' }] },
    says: 'credentials[0].passwordFile: expected password or passwordFile, not both',
  },
  {
    what: 'neither',
    entry: { credentials: [{ kind: 'basic', username: 'u' }] },
    says: 'credentials[0].password: expected password or passwordFile',
  },
  {
    what: 'a line break in a token',
    entry: { credentials: [{ kind: 'bearer-token', token: 'a\r\nb: c' }] },
    says: 'credentials[0].token: expected no control characters, such as a line break',
  },
  {
    what: 'a line break in the user agent',
    entry: { userAgent: 'a\nb' },
    says: 'userAgent: expected no control characters, such as a line break',
  },
  {
    what: 'credentials in a URL',
    entry: { url: 'https://u:p@x' },
    says: 'url: expected no user or password in a URL: they belong in credentials',
  },
  {
    what: 'a query in a URL',
    entry: { mirrors: [{ url: 'https://x/?a' }] },
    says: 'mirrors[0].url: expected a URL without query and fragment',
  },
  {
    what: 'a host alone as a URL',
    entry: { url: 'ghcr.io' },
    says: 'url: expected a URL such as "https://registry.example.com"',
  },
  { what: 'a mirror without URL', entry: { mirrors: [{}] }, says: 'mirrors[0].url: missing' },
  {
    what: 'a certificate without key',
    entry: { tls: { certFile: 'x' } },
    says: 'tls: expected certFile and keyFile together',
  },
  {
    what: 'a glob of another dialect',
    entry: { allow: ['{a,b}/*'] },
    says: 'allow[0]: expected a glob over repositories such as "library/*" or "**"; only * and ** are special',
  },
  {
    what: 'a glob without a tag for tags',
    entry: { freshness: { tags: [{ match: 'library/*', tag: '1m' }] } },
    says: 'freshness.tags[0].match: expected a glob over upstream/repository:tag such as "**:latest"; only * and ** are special',
  },
  {
    what: 'a prefix with a slash at its end',
    entry: { repositoryPrefix: 'hub/' },
    says: 'repositoryPrefix: expected repository components such as "docker-hub" or "team/cache", without a slash at either end',
  },
  {
    what: 'a realm that is a URL',
    entry: { realmHosts: ['https://auth.x'] },
    says: 'realmHosts[0]: expected a host such as "ghcr.io" or "localhost:5000", in lower case',
  },
  ...['https://minio.x', 'http://*.x', 'http://minio.x/', 'http://user@minio.x', 'http://Minio.x'].map((host) => ({
    what: `a place for redirects such as ${host}`,
    entry: { redirectHosts: [host] },
    says: 'redirectHosts[0]: expected a host such as "minio.internal:9000", a pattern such as "*.cdn.example", or "http://minio.internal:9000", in lower case',
  })),
])('$what is rejected', async ({ entry, says }) => {
  expect(await problemsOf({ visibility: 'public', ...entry })).toEqual([says]);
});
