import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../../src/config/loading/problems.ts';
import type { CredentialSettings, UpstreamSettings } from '../../../src/upstream/settings.ts';
import { upstreamEntries } from '../../../src/app/upstream-settings.ts';
import { configOf } from '../../support/config.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';
import { selfSigned } from '../upstream/certificates.ts';

async function settingsOf(entry: object): Promise<UpstreamSettings> {
  const config = await configOf({ upstreams: { 'ghcr.io': entry } });
  const settings = upstreamEntries(config, { version: '1.2.3' }).get('ghcr.io');
  if (!settings) throw new Error('the upstream is missing');
  return settings;
}

async function accountOf(credentials: object): Promise<CredentialSettings> {
  const [account] = (await settingsOf({ visibility: 'public', credentials: [credentials] })).credentials;
  if (!account) throw new Error('the account is missing');
  return account;
}

async function fileWith(text: string): Promise<string> {
  const file = join(await temporaryDirectory(), 'file');
  await writeFile(file, text);
  return file;
}

test('every setting of an upstream reaches its client', async () => {
  const entry = {
    url: 'https://registry.example:8443',
    aliases: ['other.example'],
    realmHosts: ['auth.example'],
    redirectHosts: ['*.cdn.example'],
    repositoryPrefix: 'hub',
    mirrors: [
      {
        url: 'https://mirror.example',
        tags: true,
        forwardNs: true,
        sendTraceContext: true,
        credentials: [{ kind: 'ecr-public', repositories: ['a/*'] }],
      },
    ],
    visibility: 'public',
    timeouts: { connect: '1s', headers: '2s', idle: '3s', token: '4s' },
    tls: { insecureSkipVerify: true },
    proxy: { http: 'http://proxy.example', https: 'http://proxy.example', except: ['lan'] },
    maxConnections: 7,
    userAgent: 'agent/1',
    sendTraceContext: true,
  };
  expect(await settingsOf(entry)).toEqual({
    ...entry,
    visibility: undefined,
    hosts: 'one',
    credentials: [],
    timeouts: { connectMs: 1_000, headersMs: 2_000, idleMs: 3_000, tokenMs: 4_000 },
  });
});

test('an upstream sees the program and its version', async () => {
  expect((await settingsOf({})).userAgent).toBe('layerwell/1.2.3');
});

describe('credentials', () => {
  test.each([
    { said: { kind: 'ecr', region: 'eu-west-1' }, settings: { kind: 'ecr', region: 'eu-west-1' } },
    { said: { kind: 'ecr-public' }, settings: { kind: 'ecr-public' } },
    { said: { kind: 'google' }, settings: { kind: 'google' } },
    {
      said: { kind: 'docker-config', configFile: 'docker.json' },
      settings: { kind: 'docker-config', configFile: '/etc/layerwell/docker.json' },
    },
    {
      said: { kind: 'exec', command: 'helper', args: ['-v'], lifetime: '1m', timeout: '1s' },
      settings: { kind: 'exec', command: 'helper', args: ['-v'], lifetimeMs: 60_000, timeoutMs: 1_000 },
    },
  ])('of the kind $said.kind', async ({ said, settings }) => {
    expect(await accountOf({ ...said, repositories: ['team/*'] })).toEqual({ repositories: ['team/*'], ...settings });
  });

  const secretOf = async (account: CredentialSettings): Promise<string | undefined> => {
    switch (account.kind) {
      case 'basic':
        return account.readPassword();
      case 'bearer-token':
      case 'gitlab':
        return account.readToken();
      case 'google':
        return account.readKey?.();
      case 'docker-config':
      case 'ecr':
      case 'ecr-public':
      case 'exec':
        return undefined;
    }
  };
  const kinds = [
    { kind: 'basic', username: 'u', key: 'password' },
    { kind: 'bearer-token', key: 'token' },
    { kind: 'gitlab', username: 'u', key: 'token' },
  ];

  test.each(kinds)('of the kind $kind, with the secret in the configuration', async ({ key, ...said }) => {
    const account = await accountOf({ ...said, [key]: 's3cret' });
    expect(account).toMatchObject(said);
    expect(await secretOf(account)).toBe('s3cret');
  });

  test.each(kinds)('of the kind $kind, with a secret in a file that rotates', async ({ key, ...said }) => {
    const file = await fileWith('old\n');
    const account = await accountOf({ ...said, [`${key}File`]: file });
    expect(await secretOf(account)).toBe('old');
    await writeFile(file, 'new');
    expect(await secretOf(account)).toBe('new');
  });

  test("of Google, with a service account's key, which has several lines", async () => {
    const key = '{\n"type": "service_account"\n}\n';
    expect(await secretOf(await accountOf({ kind: 'google', keyFile: await fileWith(key) }))).toBe(key.trimEnd());
  });

  test('of Google, with that key as the password of _json_key, sent in base64', async () => {
    const key = '{\n"type": "service_account"\n}\n';
    const said = { kind: 'basic', username: '_json_key', passwordFile: await fileWith(key) };
    expect(await secretOf(await accountOf(said))).toBe(key.trimEnd());
    const empty = await accountOf({ ...said, passwordFile: await fileWith('') });
    await expect(secretOf(empty)).rejects.toThrow('is empty');
    const other = await accountOf({ ...said, username: 'robot' });
    await expect(secretOf(other)).rejects.toThrow('holds more than one line');
  });

  test.each([
    { what: 'is empty', text: '\n', says: 'is empty' },
    { what: 'could end a header early', text: 'a\r\nb: c', says: 'holds more than one line' },
  ])('a secret file that $what is rejected, and its content is not repeated', async ({ text, says }) => {
    const file = await fileWith(text);
    const read = secretOf(await accountOf({ kind: 'bearer-token', tokenFile: file }));
    await expect(read).rejects.toThrow(new Error(`${file} ${says}`));
  });

  test('a missing secret file causes an error that names it', async () => {
    const read = secretOf(await accountOf({ kind: 'bearer-token', tokenFile: '/nowhere/token' }));
    await expect(read).rejects.toThrow('/nowhere/token cannot be read: ENOENT');
  });
});

describe('certificates', () => {
  test('are read from their files', async () => {
    const { certificate, key } = await selfSigned('mirror');
    const tls = {
      caFile: await fileWith(certificate),
      certFile: await fileWith(certificate),
      keyFile: await fileWith(key),
    };
    expect((await settingsOf({ visibility: 'public', tls })).tls).toEqual({
      ca: certificate,
      certificate,
      key,
      insecureSkipVerify: false,
    });
  });

  test('that cannot be used are all reported, each with its key', async () => {
    const [one, other] = [await selfSigned('one'), await selfSigned('other')];
    const config = await configOf({
      upstreams: {
        'a.example': { tls: { caFile: '/nowhere/ca.pem' } },
        'b.example': { tls: { caFile: await fileWith('no certificate') } },
        'c.example': {
          visibility: 'public',
          tls: { certFile: await fileWith(one.certificate), keyFile: await fileWith(other.key) },
        },
      },
    });
    const refused = () => upstreamEntries(config, { version: '1' });
    expect(refused).toThrow(ConfigError);
    expect(refused).toThrow('upstreams["a.example"].tls.caFile: the file /nowhere/ca.pem cannot be read: ENOENT');
    expect(refused).toThrow(/upstreams\["b\.example"\]\.tls\.caFile: the file \S+ holds no certificate/);
    expect(refused).toThrow(/upstreams\["c\.example"\]\.tls\.keyFile: \S+ and \S+ are not a certificate and its key/);
  });
});
