import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import nock from 'nock';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { parseRepository } from '../../../../../src/oci/reference.ts';
import { createGoogleCredentials } from '../../../../../src/upstream/credentials/kinds/google.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';
import { temporaryDirectory } from '../../../../support/temp-directory.ts';
import { sendJson, serve } from '../../serve.ts';
import { clientOf, unlimited } from '../../start-client.ts';
import { accountDeps } from '../account-deps.ts';

const minute = 60_000;
const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});
const keyOf = (clientEmail: string) =>
  JSON.stringify({
    type: 'service_account',
    project_id: 'project',
    private_key_id: 'key-1',
    private_key: privateKey,
    client_email: clientEmail,
    token_uri: 'https://oauth2.googleapis.com/token',
  });

beforeEach(() => {
  vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', '');
  vi.stubEnv('HOME', '/nowhere');
  vi.stubEnv('APPDATA', '/nowhere');
  nock.disableNetConnect();
  nock.enableNetConnect('127.0.0.1');
});
afterEach(() => {
  vi.unstubAllEnvs();
  nock.abortPendingRequests();
  nock.cleanAll();
  nock.enableNetConnect();
});

/** The library reads the machine's clock, so ours starts where that stands. */
function start(readKey?: () => Promise<string>) {
  const deps = accountDeps('gcr.io', { clock: new ManualClock(Date.now()) });
  const credentials = createGoogleCredentials({ readKey }, deps);
  return { ...deps, credentials, secret: () => credentials.secret(unlimited) };
}

/** Google's token endpoint for this account, or for any; tells whose assertions it was shown. */
function google({ account = '', shown = [] as string[] } = {}) {
  return nock('https://oauth2.googleapis.com').post('/token', (form: { assertion?: string }) => {
    const [, claims = ''] = form.assertion?.split('.') ?? [];
    const { iss = '', scope }: { iss?: string; scope?: string } = JSON.parse(
      Buffer.from(claims, 'base64url').toString(),
    );
    if (!iss.startsWith(account)) return false;
    shown.push(`${iss} for ${scope}`);
    return true;
  });
}

test('the key of a service account is exchanged for an access token, once for all concurrent callers', async () => {
  const shown: string[] = [];
  google({ shown }).reply(200, { access_token: 'ya29.first', expires_in: 3_599, token_type: 'Bearer' });
  const { secret } = start(async () => keyOf('robot@project.iam.gserviceaccount.com'));

  const secrets = await Promise.all(Array.from({ length: 10 }, secret));

  expect(new Set(secrets.map((one) => JSON.stringify(one))).size).toBe(1);
  expect(secrets[0]).toEqual({ kind: 'basic', username: 'oauth2accesstoken', password: 'ya29.first' });
  expect(shown).toEqual(['robot@project.iam.gserviceaccount.com for https://www.googleapis.com/auth/cloud-platform']);
});

test('it is renewed less than four minutes before it expires, with the current key', async () => {
  const shown: string[] = [];
  const keys = [keyOf('old@project'), keyOf('new@project')];
  const { secret, clock } = start(async () => keys.shift() ?? '');
  google({ shown }).reply(200, { access_token: 'ya29.first', expires_in: 3_600, token_type: 'Bearer' });
  await secret();
  clock.advance(56 * minute);
  expect(await secret()).toMatchObject({ password: 'ya29.first' });

  google({ shown }).reply(200, { access_token: 'ya29.second', expires_in: 3_600, token_type: 'Bearer' });
  clock.advance(minute);
  expect(await secret()).toMatchObject({ password: 'ya29.first' });

  await expect.poll(secret).toMatchObject({ password: 'ya29.second' });
  expect(shown.map((one) => one.split(' ')[0])).toEqual(['old@project', 'new@project']);
});

test('while Google does not answer, the current token is used until it expires', async () => {
  const { secret, clock, observer } = start(async () => keyOf('robot@project'));
  google().reply(200, { access_token: 'ya29.first', expires_in: 3_600, token_type: 'Bearer' });
  await secret();
  google().times(9).reply(400, { error: 'invalid_grant' });
  clock.advance(57 * minute);

  expect(await secret()).toMatchObject({ password: 'ya29.first' });
  await expect.poll(() => observer.failures).toHaveLength(1);
  clock.advance(3 * minute);

  await expect(secret()).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused' });
});

test('a machine or pod of Google has an account without a key', async () => {
  vi.stubEnv('METADATA_SERVER_DETECTION', 'assume-present');
  vi.stubEnv('GCE_METADATA_HOST', 'metadata.test');
  nock('http://metadata.test', { reqheaders: { 'metadata-flavor': 'Google' } })
    .get('/computeMetadata/v1/instance/service-accounts/default/token')
    .query(true)
    .reply(
      200,
      { access_token: 'ya29.metadata', expires_in: 3_599, token_type: 'Bearer' },
      { 'Metadata-Flavor': 'Google' },
    );

  const project = nock('http://metadata.test').get('/computeMetadata/v1/project/project-id').reply(200, 'project');

  expect(await start().secret()).toEqual({ kind: 'basic', username: 'oauth2accesstoken', password: 'ya29.metadata' });

  // The library would run `gcloud` before it asks for this.
  expect(project.isDone()).toBe(false);
});

async function fileWith(value: object | string): Promise<string> {
  const file = join(await temporaryDirectory(), 'file');
  await writeFile(file, typeof value === 'string' ? value : JSON.stringify(value));
  return file;
}

test.each([
  {
    what: "a service account's key",
    file: async () => keyOf('adc@project'),
    at: 'https://oauth2.googleapis.com',
    path: '/token',
    shown: 'assertion',
  },
  {
    what: 'the login of a person (gcloud auth application-default login)',
    file: async () => ({ type: 'authorized_user', client_id: 'c', client_secret: 's', refresh_token: 'refresh' }),
    at: 'https://oauth2.googleapis.com',
    path: '/token',
    shown: 'refresh_token=refresh',
  },
  {
    what: "another cloud's or cluster's token (Workload Identity Federation)",
    file: async () => ({
      type: 'external_account',
      audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster',
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      token_url: 'https://sts.googleapis.com/v1/token',
      credential_source: { file: await fileWith('jwt-of-the-pod') },
    }),
    at: 'https://sts.googleapis.com',
    path: '/v1/token',
    shown: 'subject_token=jwt-of-the-pod',
  },
])('Application Default Credentials may be $what', async ({ file, at, path, shown }) => {
  vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', await fileWith(await file()));
  const isShown = (form: object) => new URLSearchParams(Object.entries(form)).toString().includes(shown);
  nock(at).post(path, isShown).reply(200, { access_token: 'ya29.adc', expires_in: 3_600, token_type: 'Bearer' });

  expect(await start().secret()).toEqual({ kind: 'basic', username: 'oauth2accesstoken', password: 'ya29.adc' });
});

test('a machine without any account fails the request', async () => {
  vi.stubEnv('METADATA_SERVER_DETECTION', 'none');

  await expect(start().secret()).rejects.toMatchObject({
    name: 'UpstreamError',
    message: 'no credentials from Google',
  });
});

test.each(['', 'not JSON: s3cr3t', '{"private_key":"s3cr3t"}', 'null'])(
  '%j is rejected as a key, and the error does not quote it',
  async (key) => {
    const failure: unknown = await start(async () => key)
      .secret()
      .catch((error: unknown) => error);

    expect(failure).toMatchObject({ name: 'UpstreamError', reason: 'refused' });
    expect(inspect(failure, { depth: 9 })).not.toContain('s3cr3t');
  },
);

test('a key that Google rejects fails the request with an error that contains neither key nor assertion', async () => {
  google().times(9).reply(400, { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' });

  const failure: unknown = await start(async () => keyOf('robot@project'))
    .secret()
    .catch((error: unknown) => error);

  expect(failure).toMatchObject({ name: 'UpstreamError', reason: 'refused' });
  expect(inspect(failure, { depth: 9 })).not.toMatch(/PRIVATE KEY|eyJ/);
});

test('a caller may stop waiting for Google', async () => {
  google({ account: 'slow@project' }).delay(60_000).reply(200, {});
  const waiting = new AbortController();
  const asked = start(async () => keyOf('slow@project')).credentials.secret(waiting);

  waiting.abort(new Error('the client left'));

  await expect(asked).rejects.toThrow('the client left');
});

test("the access token is sent to the registry's token endpoint, which is on the same host and names no service", async () => {
  google({ account: 'robot@project' }).reply(200, {
    access_token: 'ya29.first',
    expires_in: 3_599,
    token_type: 'Bearer',
  });
  const registry = await serve(({ url, headers }, response) => {
    const isKnown = headers.authorization === `Basic ${btoa('oauth2accesstoken:ya29.first')}`;
    if (url.pathname === '/v2/token') return sendJson(response, { token: 'pull' }, isKnown ? 200 : 401);
    sendJson(response, { tags: [] }, headers.authorization === 'Bearer pull' ? 200 : 401, {
      'www-authenticate': `Bearer realm="${registry.url}/v2/token"`,
    });
  });
  const credentials = [{ kind: 'google', repositories: ['**'], readKey: async () => keyOf('robot@project') }] as const;

  await clientOf(registry.url, { credentials }).client.listTags(parseRepository('project/repo/image'), unlimited);

  expect(registry.story()).toEqual([
    'GET /v2/project/repo/image/tags/list',
    'GET /v2/token',
    'GET /v2/project/repo/image/tags/list',
  ]);
});
