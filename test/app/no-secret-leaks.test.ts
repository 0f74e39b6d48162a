import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { check } from '../../src/commands/check.ts';
import { ConfigError } from '../../src/config/loading/problems.ts';
import { ask } from '../support/client.ts';
import { problemsWith } from '../support/config.ts';
import { betrayals, startEcho } from '../support/echo.ts';
import { randomBlob } from '../support/images.ts';
import { thisTest } from '../support/owner.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { startSource } from '../support/source.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { printing, writeHelper } from '../support/write-helper.ts';

const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});

/** Every secret holds the word; the last three are what base64 makes of it, wherever it begins. */
const traces = /canary|Y2FuYXJ5|NhbmFye|jYW5hcn|PRIVATE KEY|BEGIN /i;

/** Secrets in every slot that there is, on the disk, in the environment and in the configuration. */
async function hideSecrets(echo: { readonly url: string }) {
  const directory = await temporaryDirectory();
  const write = async (name: string, text: string) => {
    await writeFile(join(directory, name), text);
    return join(directory, name);
  };
  const host = new URL(echo.url).host;
  const auth = Buffer.from('canary-docker-user:canary-docker-password').toString('base64');
  const googleKey = JSON.stringify({
    client_email: 'canary@project',
    private_key: privateKey,
    private_key_id: 'canary',
  });
  const helper = async (name: string, script: string) => (await writeHelper(directory, name, script)).path;
  const env = {
    AWS_ACCESS_KEY_ID: 'AKIACANARY',
    AWS_SECRET_ACCESS_KEY: 'canary-aws-secret',
    AWS_SESSION_TOKEN: 'canary-aws-session',
    AWS_CONFIG_FILE: '/nowhere',
    AWS_SHARED_CREDENTIALS_FILE: '/nowhere',
    AWS_MAX_ATTEMPTS: '1',
    AWS_ENDPOINT_URL_ECR: (await startFickleEcr()).url,
    AWS_ENDPOINT_URL_ECR_PUBLIC: `${echo.url}/api/not-http`,
    GOOGLE_APPLICATION_CREDENTIALS: await write('adc.json', `{"type": "canary", "private_key": "canary`),
  };
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  thisTest(async () => void vi.unstubAllEnvs());
  const passwordFile = await write('password', 'canary-file-password');
  const tokenFile = await write('token', 'canary-file-token');
  return {
    /** Accounts whose secrets are sent to registries and token endpoints. */
    shown: {
      basic: { kind: 'basic', username: 'canary-user', password: 'canary-password' },
      'basic-file': { kind: 'basic', username: 'canary-user', passwordFile },
      'json-key': { kind: 'basic', username: '_json_key', passwordFile: await write('key.json', googleKey) },
      bearer: { kind: 'bearer-token', tokenFile },
      gitlab: { kind: 'gitlab', username: 'canary-deploy', token: 'canary-gitlab' },
      docker: {
        kind: 'docker-config',
        configFile: await write('auths.json', JSON.stringify({ auths: { [host]: { auth } } })),
      },
      identity: {
        kind: 'docker-config',
        configFile: await write(
          'identity.json',
          JSON.stringify({ auths: { [host]: { identitytoken: 'canary-identity' } } }),
        ),
      },
      exec: { kind: 'exec', command: await helper('good', printing('canary-helper-user', 'canary-helper-secret')) },
    },
    /** Accounts whose secrets cannot be read, with an error that could quote them. */
    failing: {
      'exec-fails': { kind: 'exec', command: await helper('fails', 'echo canary-out; echo canary-err >&2; exit 1') },
      'exec-babbles': { kind: 'exec', command: await helper('babbles', 'echo "{canary"') },
      'docker-broken': { kind: 'docker-config', configFile: await write('broken.json', '{"auths": canary') },
      'google-broken': { kind: 'google', keyFile: await write('broken-key.json', '{"private_key": canary') },
      'google-bad-key': {
        kind: 'google',
        keyFile: await write('bad-key.json', JSON.stringify({ client_email: 'canary@x', private_key: 'canary' })),
      },
      'google-adc': { kind: 'google' },
      ecr: { kind: 'ecr', region: 'eu-west-1' },
      'ecr-public': { kind: 'ecr-public' },
      'two-lines': { kind: 'basic', username: 'canary', passwordFile: await write('lines', 'canary\ncanary') },
    },
  };
}

/** Kinds of credentials differ only in how the secret is sent. */
const commonBetrayals = ['401', '500', 'redirect', 'not-http'] as const;

/** It issues a token, and then echoes its requests. */
function startFickleEcr() {
  const authorizationToken = Buffer.from('AWS:canary-issued').toString('base64');
  const issued = { authorizationData: [{ authorizationToken, expiresAt: Date.UTC(2030, 0, 1) / 1_000 + 12 * 3_600 }] };
  let count = 0;
  return startSource(({ headers }) => {
    count += 1;
    const { authorization = '' } = headers;
    return count === 1
      ? { status: 200, body: issued }
      : { status: 400, body: { __type: authorization, message: authorization } };
  });
}

const served = { visibility: 'service', allowAnonymous: true, realmHosts: [] as string[] };

/** An upstream for every way in which a secret may leak. */
async function everyUpstream(echo: { readonly url: string }): Promise<Readonly<Record<string, object>>> {
  const { shown, failing } = await hideSecrets(echo);
  const names = (parts: readonly string[]) => `${parts.join('-')}.test`;
  const betrayed = Object.entries(shown).flatMap(([kind, credentials]) =>
    ['basic', 'bearer', 'late'].flatMap((door) =>
      (kind === 'basic' ? betrayals : commonBetrayals).map((betrayal) => [
        names([kind, door, betrayal]),
        {
          ...served,
          url: `${echo.url}/${door}/${betrayal}`,
          redirectHosts: ['127.0.0.1:1'],
          credentials: [credentials],
        },
      ]),
    ),
  );
  const withoutSecret = Object.entries(failing).map(([kind, credentials]) => [
    names([kind]),
    { ...served, url: `${echo.url}/basic/${kind === 'ecr' ? '200' : '403'}`, credentials: [credentials] },
  ]);
  const { host } = new URL(echo.url);
  const proxied = ['127.0.0.1:1', host].flatMap((proxy, nth) =>
    ['http', 'https'].map((scheme) => [
      names(['proxy', String(nth), scheme]),
      {
        ...served,
        url: `${scheme}://registry.corp.example`,
        proxy: { [scheme]: `http://canary-proxy-user:canary-proxy-password@${proxy}` },
        credentials: [{ kind: 'ecr', region: 'eu-west-1' }],
      },
    ]),
  );
  return Object.fromEntries([...betrayed, ...withoutSecret, ...proxied]);
}

/** Everything that clients and operators see of each upstream. */
async function toldBy(app: RunningApp, names: readonly string[]): Promise<readonly string[]> {
  const digest = randomBlob(10).digest;
  const told: string[] = [];
  const paths = ['manifests/1', `blobs/${digest}`, 'tags/list', `referrers/${digest}`];
  const askAll = async (name: string) => {
    for (const path of paths) told.push(`${name}: ${await answerOf(app, `/v2/${name}/team/app/${path}`)}`);
  };
  await Promise.all(names.map(askAll));
  // What is due is renewed behind the clients' back: what fails there is for the log.
  app.clock.advance(7 * 3_600_000);
  await askAll('ecr.test');
  await expect.poll(() => app.logLines.filter(({ part }) => part === 'credentials').length).toBeGreaterThan(0);
  for (const path of ['/metrics', '/readyz', '/healthz', '/nothing']) {
    told.push(await (await fetch(`${app.managementUrl}${path}`)).text());
  }
  return [...told, ...app.logLines.map((line) => JSON.stringify(line))];
}

/** The whole response, as text. */
async function answerOf(app: RunningApp, path: string): Promise<string> {
  try {
    const { status, headers, body } = await ask(app, path);
    return `${status} ${JSON.stringify(headers)} ${body.toString()}`;
  } catch (cause) {
    return String(cause);
  }
}

test('no secret and no account name appears in responses, logs, metrics or on the management listener, whatever fails', async () => {
  const echo = await startEcho('canary-issued-token');
  const upstreams = await everyUpstream(echo);
  const names = Object.keys(upstreams);
  const app = await startApp({
    upstreams,
    log: { level: 'trace' },
    management: { host: '127.0.0.1', port: 0 },
  });

  const told = await toldBy(app, names);

  expect(told.length).toBeGreaterThan(4 * names.length);
  expect(echo.heard()).toBeGreaterThan(names.length);
  expect(told.filter((text) => traces.test(text))).toEqual([]);
}, 120_000);

test('check --online prints no secret', async () => {
  const echo = await startEcho('canary-issued-token');
  const upstreams = await everyUpstream(echo);
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, JSON.stringify({ upstreams }));
  let printed = '';
  const print = (text: string) => {
    printed += text;
  };

  // A file that cannot hold a secret is a problem of the configuration: it is told, and left out.
  const refused = await check({ file, env: {}, version: 'test', isOnline: true, print }).catch(
    (cause: unknown) => cause,
  );
  const { 'two-lines.test': _, 'docker-broken.test': __, ...usable } = upstreams;
  await writeFile(file, JSON.stringify({ upstreams: usable }));
  const code = await check({ file, env: {}, version: 'test', isOnline: true, print });

  expect(code).toBe(1);
  expect(refused).toBeInstanceOf(ConfigError);
  expect(printed.split('\n').length).toBeGreaterThan(Object.keys(usable).length);
  expect(`${String(refused)}\n${printed}`.split('\n').filter((line) => traces.test(line))).toEqual([]);
}, 120_000);

test.each([
  { what: 'an unknown kind', entry: { credentials: [{ kind: 'canary', password: 'canary' }] } },
  {
    what: 'a secret that is not a string',
    entry: { credentials: [{ kind: 'basic', username: 'u', password: ['canary'] }] },
  },
  { what: 'a secret under another key', entry: { credentials: [{ kind: 'basic', username: 'u', pasword: 'canary' }] } },
  {
    what: 'a secret with a line break',
    entry: { credentials: [{ kind: 'gitlab', username: 'u', token: 'canary\n' }] },
  },
  { what: 'a secret in a URL', entry: { url: 'https://canary:canary@registry.example' } },
  { what: 'a secret in an invalid proxy URL', entry: { proxy: { https: 'socks5://canary:canary@proxy' } } },
  { what: 'a secret in place of a variable', entry: { userAgent: '${canary}' } },
])('a configuration that is rejected for $what is rejected without printing it', async ({ entry }) => {
  const problems = await problemsWith({ upstreams: { 'a.test': { visibility: 'public', ...entry } } });

  expect(problems.length).toBeGreaterThan(0);
  expect(problems.filter((problem) => traces.test(problem))).toEqual([]);
});
