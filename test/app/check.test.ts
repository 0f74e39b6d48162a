import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { check } from '../../src/commands/check.ts';
import { ConfigError } from '../../src/config/loading/problems.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { StartedProcess } from '../support/processes.ts';
import { startRedis } from '../support/redis.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const account = { username: 'mirror-account', password: 's3cret-canary' };
const credentials = [{ kind: 'basic', ...account }];

async function fileWith(config: unknown): Promise<string> {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, JSON.stringify(config));
  return file;
}

interface Checked {
  readonly code: number;
  readonly text: string;
  /** What the table says of an upstream, column by column; one for each account. */
  readonly rows: (upstream: string) => readonly (readonly string[])[];
}

async function checked(upstreams: object, { isOnline = true } = {}): Promise<Checked> {
  let text = '';
  const print = (more: string) => {
    text += more;
  };
  const code = await check({ file: await fileWith({ upstreams }), env: {}, version: 'test', isOnline, print });
  const rows = (upstream: string) =>
    text
      .split('\n')
      .map((line) => line.split(/ {2,}/))
      .filter(([first]) => first === upstream)
      .map(([, ...others]) => others);
  expect(text).not.toContain(account.username);
  expect(text).not.toContain(account.password);
  return { code, text, rows };
}

async function hub(): Promise<FakeRegistry> {
  const registry = await startFakeRegistry({ auth: { kind: 'bearer', ...account, privateRepositories: [] } });
  registry.content.add('ratelimitpreview/test', 'latest', image());
  registry.content.manifestHeaders = { 'ratelimit-limit': '200;w=21600', 'ratelimit-remaining': '76;w=21600' };
  return registry;
}

/** An entry with the account. */
const withAccount = ({ url }: { url: string }, more: object = {}) => ({
  url,
  visibility: 'public',
  credentials,
  ...more,
});

test('check --online lists how each upstream is reached, with which account, and what is left of its rate limit', async () => {
  const [docker, open, wantsPassword] = [
    await hub(),
    await startFakeRegistry({ auth: { kind: 'bearer' } }),
    await startFakeRegistry({ auth: { kind: 'basic', ...account } }),
  ];
  const result = await checked({
    'docker.io': withAccount(docker),
    'open.example': { url: open.url },
    'private.example': withAccount(wantsPassword),
    '*.pkg.dev': {},
    'cut.example': { freshness: { offline: true } },
  });
  expect(result.rows('docker.io')).toEqual([['yes', 'as credentials[0] (basic)', '76 of 200 in 6 h']]);
  expect(result.rows('open.example')).toEqual([['yes', 'anonymously', 'not reported']]);
  expect(result.rows('private.example')).toEqual([['yes', 'as credentials[0] (basic)', 'not reported']]);
  expect(result.rows('*.pkg.dev')).toEqual([['a pattern, not asked']]);
  expect(result.rows('cut.example')).toEqual([['offline, not asked']]);
  expect(result.code).toBe(0);
});

test('check --online pulls nothing', async () => {
  const docker = await hub();
  await checked({ 'docker.io': withAccount(docker) });
  expect(docker.count('GET', /\/manifests\/|\/blobs\//)).toBe(0);
});

test('without --online no upstream is asked', async () => {
  const docker = await hub();
  const { code, text } = await checked({ 'docker.io': withAccount(docker) }, { isOnline: false });
  expect(text).toMatch(/^\S+mirror\.config\.json: ok\n$/);
  expect(code).toBe(0);
  expect(docker.count()).toBe(0);
});

test('a key that matches any host causes a warning, and works', async () => {
  const { code, text } = await checked({ 'a.example': {}, '**': {} }, { isOnline: false });
  expect(text).toMatch(/: ok\nwarning: upstreams\["\*\*"\]: matches every host/);
  expect(code).toBe(0);
});

test('an upstream that is down is listed with the reason, along with those that are up', async () => {
  const [docker, gone] = [await hub(), await startFakeRegistry()];
  await gone.stop();
  const result = await checked({ 'docker.io': withAccount(docker), 'gone.example': { url: gone.url } });
  expect(result.rows('docker.io')[0]?.[0]).toBe('yes');
  expect(result.rows('gone.example')).toEqual([['no']]);
  expect(result.text).toContain(`gone.example: ${gone.host} could not be reached (ECONNREFUSED)`);
  expect(result.code).toBe(1);
});

test.each([{ kind: 'bearer', privateRepositories: [] }, { kind: 'basic' }] as const)(
  'a wrong password is reported by its key ($kind)',
  async (auth) => {
    const registry = await startFakeRegistry({ auth: { ...auth, username: account.username, password: 'another' } });
    const result = await checked({ 'a.example': withAccount(registry) });
    expect(result.rows('a.example')).toEqual([['yes', 'no: credentials[0] (basic)', 'not reported']]);
    expect(result.text).toMatch(/^a\.example, credentials\[0\] \(basic\): .* refused .*account \(401\)$/m);
    expect(result.code).toBe(1);
  },
);

test('each of several accounts has its own line, and a wrong one does not hide the others', async () => {
  const docker = await hub();
  const wrong = { kind: 'basic', username: 'x', password: 'y', repositories: ['team/*'] };
  const result = await checked({ 'docker.io': withAccount(docker, { credentials: [wrong, ...credentials] }) });
  expect(result.rows('docker.io').map(([, signedIn]) => signedIn)).toEqual([
    'no: credentials[0] (basic)',
    'as credentials[1] (basic)',
  ]);
  expect(result.code).toBe(1);
});

test('a mirror of an upstream has its own line and its own credentials', async () => {
  const [registry, mirror] = [
    await startFakeRegistry(),
    await startFakeRegistry({ auth: { kind: 'basic', ...account } }),
  ];
  const mirrors = [{ url: mirror.url, credentials }];
  const result = await checked({ 'a.example': { url: registry.url, mirrors, visibility: 'public' } });
  expect(result.rows('a.example via mirrors[0]')).toEqual([['yes', 'as credentials[0] (basic)', 'not reported']]);
  expect(result.rows('a.example')).toEqual([['yes', 'anonymously', 'not reported']]);
  expect(registry.requests.filter(({ headers }) => headers.authorization)).toEqual([]);
});

test('an account cannot be verified at a registry that accepts everyone', async () => {
  const registry = await startFakeRegistry();
  const result = await checked({ 'a.example': withAccount(registry) });
  expect(result.rows('a.example')).toEqual([
    ['yes', 'credentials[0] (basic) not checked: the registry answers without credentials', 'not reported'],
  ]);
  expect(result.code).toBe(0);
});

test('a registry that requires an account, when none is configured, is reported as unusable', async () => {
  const registry = await startFakeRegistry({ auth: { kind: 'basic', ...account } });
  const result = await checked({ 'a.example': { url: registry.url } });
  expect(result.rows('a.example')).toEqual([['yes', 'no: credentials required', 'not reported']]);
  expect(result.code).toBe(1);
});

test("a registry whose token server fails for anonymous requests is reported as unusable, with the token server's name", async () => {
  const tokens = await startFakeRegistry({ auth: { kind: 'bearer' } });
  const realm = `${tokens.url}/token`;
  const registry = await startFakeRegistry({ auth: { kind: 'bearer', realm } });
  const upstreams = { 'a.example': { url: registry.url, realmHosts: [tokens.host] } };
  expect((await checked(upstreams)).code).toBe(0);
  expect(tokens.count('GET', /^\/token$/)).toBe(1);
  await tokens.stop();

  const result = await checked(upstreams);

  expect(result.rows('a.example')).toEqual([['yes', 'no: the token endpoint issued no token', 'not reported']]);
  expect(result.text).toContain(`a.example: ${tokens.host} could not be reached (ECONNREFUSED)`);
  expect(result.code).toBe(1);
});

test('a token server that issues no anonymous token (GitLab) is no failure: public repositories may still work', async () => {
  const registry = await startFakeRegistry({ auth: { kind: 'bearer', ...account } });

  const result = await checked({ 'a.example': { url: registry.url } });

  expect(result.rows('a.example')).toEqual([['yes', 'anonymously', 'not reported']]);
  expect(result.code).toBe(0);
});

test('a Docker configuration without an entry for the registry is reported as such', async () => {
  const registry = await startFakeRegistry({ auth: { kind: 'bearer' } });
  const configFile = await fileWith({ auths: { 'other.example': { auth: btoa('u:p') } } });

  const result = await checked({
    'a.example': withAccount(registry, { credentials: [{ kind: 'docker-config', configFile }] }),
  });

  expect(result.rows('a.example')).toEqual([
    ['yes', 'anonymously: credentials[0] (docker-config) has no entry for this registry', 'not reported'],
  ]);
});

test('a web server that is not a registry is reported as such', async () => {
  const registry = await startFakeRegistry();
  registry.script({}, { status: 404 });
  const result = await checked({ 'a.example': { url: registry.url } });
  expect(result.text).toContain(`a.example: ${registry.host} answered 404 where a registry says 200 or 401`);
  expect(result.code).toBe(1);
});

test('a password is not sent to a token realm of another domain', async () => {
  const thief = await startFakeRegistry({ auth: { kind: 'bearer' } });
  const registry = await startFakeRegistry({ auth: { kind: 'bearer', realm: `${thief.url}/token` } });
  const result = await checked({ 'a.example': withAccount(registry) });
  expect(result.text).toContain('which is neither of its domain nor in realmHosts');
  expect(result.code).toBe(1);
  expect(thief.count()).toBe(0);
});

test('an unreadable file named by the configuration is a problem of the configuration', async () => {
  const upstreams = {
    'a.example': { visibility: 'public', credentials: [{ kind: 'basic', username: 'u', passwordFile: '/nowhere/p' }] },
    'b.example': {
      visibility: 'public',
      mirrors: [{ url: 'https://m.example', credentials: [{ kind: 'bearer-token', tokenFile: '/nowhere/t' }] }],
      tls: { caFile: '/nowhere/ca' },
    },
  };
  const failure = await checked(upstreams).catch((cause: unknown) => cause);
  if (!(failure instanceof ConfigError)) throw new Error('it was accepted', { cause: failure });
  expect(failure.problems).toEqual([
    'upstreams["b.example"].tls.caFile: the file /nowhere/ca cannot be read: ENOENT',
    'upstreams["a.example"].credentials[0].passwordFile: /nowhere/p cannot be read: ENOENT',
    'upstreams["b.example"].mirrors[0].credentials[0].tokenFile: /nowhere/t cannot be read: ENOENT',
  ]);
});

test('an invalid Docker configuration is a problem of the configuration, reported without its contents', async () => {
  const configFile = join(await temporaryDirectory(), 'docker.json');
  await writeFile(configFile, `{"auths": ${account.password}`);
  const entry = { visibility: 'public', credentials: [{ kind: 'docker-config', configFile }] };

  const failure = await checked({ 'a.example': entry }, { isOnline: false }).catch((cause: unknown) => cause);

  expect(failure).toMatchObject({
    problems: [
      `upstreams["a.example"].credentials[0].configFile: ${configFile} is not a Docker configuration: it is not a JSON object`,
    ],
  });
});

async function run(config: unknown, ...args: readonly string[]) {
  const file = await fileWith(config);
  const program = new StartedProcess(process.execPath, ['src/main.ts', 'check', '--config', file, ...args]);
  const { code } = await program.exited;
  return { code, stdout: program.stdout, stderr: program.stderr };
}

test('the exit code is 0 without problems, 1 if an upstream is unusable, 2 if the configuration is invalid', async () => {
  const [up, down] = [await startFakeRegistry(), await startFakeRegistry()];
  await down.stop();
  expect(await run({ upstreams: { 'a.example': { url: up.url } } }, '--online')).toMatchObject({ code: 0, stderr: '' });
  expect(await run({ upstreams: { 'a.example': { url: down.url } } }, '--online')).toMatchObject({
    code: 1,
    stderr: '',
  });
  expect(await run({ upstreams: { 'a.example': { url: down.url } } })).toMatchObject({ code: 0, stderr: '' });
  const refused = await run({ upstreams: { 'a.example': { urll: up.url } }, listn: {} });
  expect(refused).toMatchObject({ code: 2, stdout: '' });
  expect(refused.stderr).toContain('upstreams["a.example"].urll: unknown key; did you mean url?');
  expect(refused.stderr).toContain('listn: unknown key; did you mean listen?');
});

test('check --online says whether the Redis of the index answers and accepts the user', async () => {
  const upstream = await startFakeRegistry();
  const redis = await startRedis({ user: `layerwell on >${account.password} ~* +@all` });
  const checkedWith = async (password: string) => {
    let text = '';
    const index = { driver: 'redis', url: redis.url, username: 'layerwell', password };
    const file = await fileWith({ upstreams: { 'docker.io': { url: upstream.url } }, index });
    const code = await check({ file, env: {}, version: 'test', isOnline: true, print: (more) => (text += more) });
    expect(text).not.toContain(password);
    return { code, text };
  };
  const place = 'redis of index';
  expect(await checkedWith(account.password)).toEqual({ code: 0, text: expect.stringContaining(`${place}: ok`) });
  const wrong = { code: 1, text: expect.stringContaining(`${place}: no usable answer (auth)`) };
  expect(await checkedWith('an0ther-canary')).toEqual(wrong);
});
