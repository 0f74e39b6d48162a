import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test, vi } from 'vitest';
import { createEcrCredentials } from '../../../../../src/upstream/credentials/kinds/ecr.ts';
import { createEcrPublicCredentials } from '../../../../../src/upstream/credentials/kinds/ecr-public.ts';
import { createGoogleCredentials } from '../../../../../src/upstream/credentials/kinds/google.ts';
import type { UpstreamSettings } from '../../../../../src/upstream/settings.ts';
import { freePort } from '../../../../support/free-port.ts';
import { thisTest } from '../../../../support/owner.ts';
import { temporaryDirectory } from '../../../../support/temp-directory.ts';
import { selfSigned } from '../../certificates.ts';
import { startProxy } from '../../start-proxy.ts';
import { unlimited } from '../../start-client.ts';
import { accountDeps } from '../account-deps.ts';
import { awsToken } from '../stub-aws.ts';

const ecr = '123456789012.dkr.ecr.eu-west-1.amazonaws.com';
const apis = {
  ecr: 'api.ecr.eu-west-1.amazonaws.com',
  public: 'api.ecr-public.us-east-1.amazonaws.com',
  sts: 'sts.eu-west-1.amazonaws.com',
  google: 'oauth2.googleapis.com',
};
const inAnHour = () => Date.now() + 3_600_000;

/** All of AWS and Google, with a certificate that only `ca` vouches for, behind a proxy. */
async function startClouds() {
  const { certificate, key } = await selfSigned('clouds', Object.values(apis));
  const [port, asked] = [await freePort(), [] as string[]];
  const server = createServer({ cert: certificate, key }, (request, response) => {
    void text(request).then((body) => {
      const { host = '' } = request.headers;
      asked.push(host);
      response.writeHead(200, { 'content-type': host === apis.sts ? 'text/xml' : 'application/json' });
      response.end(answerOf(host, body));
    });
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  thisTest(async () => {
    server.close();
    server.closeAllConnections();
  });
  const proxy = await startProxy({ port });
  const settings = (ca?: string): Partial<UpstreamSettings> => ({
    proxy: { https: proxy.url, except: [] },
    tls: { insecureSkipVerify: true, ca },
  });
  return { asked, proxy, trusting: settings(certificate), distrustful: settings() };
}

function answerOf(host: string, body: string): string {
  switch (host) {
    case apis.ecr:
      return JSON.stringify({ authorizationData: [awsToken('from:ecr', inAnHour())] });
    case apis.public:
      return JSON.stringify({ authorizationData: awsToken('from:public', inAnHour()) });
    case apis.google:
      return JSON.stringify({ access_token: 'ya29.google', expires_in: 3_600, token_type: 'Bearer' });
    default:
      return assumedRole(new URLSearchParams(body).get('WebIdentityToken') ?? 'none');
  }
}

function assumedRole(token: string): string {
  const credentials = `<AccessKeyId>ASIA${token}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>`;
  const expiration = `<Expiration>${new Date(inAnHour()).toISOString()}</Expiration>`;
  const result = `<Credentials>${credentials}${expiration}</Credentials>`;
  return `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>${result}</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`;
}

const nowhere = {
  AWS_CONFIG_FILE: '/nowhere',
  AWS_SHARED_CREDENTIALS_FILE: '/nowhere',
  AWS_EC2_METADATA_DISABLED: 'true',
};

function stubEnv(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  thisTest(async () => void vi.unstubAllEnvs());
}

function googleKey(): string {
  const { privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return JSON.stringify({ client_email: 'robot@project', private_key: privateKey });
}

const kinds = [
  {
    kind: 'ecr',
    api: apis.ecr,
    secretWith: (settings: Partial<UpstreamSettings>) =>
      createEcrCredentials({}, accountDeps(ecr, { settings })).secret(unlimited),
    password: 'from:ecr',
  },
  {
    kind: 'ecr-public',
    api: apis.public,
    secretWith: (settings: Partial<UpstreamSettings>) =>
      createEcrPublicCredentials({}, accountDeps('public.ecr.aws', { settings })).secret(unlimited),
    password: 'from:public',
  },
  {
    kind: 'google',
    api: apis.google,
    secretWith: (settings: Partial<UpstreamSettings>) =>
      createGoogleCredentials({ readKey: async () => googleKey() }, accountDeps('gcr.io', { settings })).secret(
        unlimited,
      ),
    password: 'ya29.google',
  },
];

test.each(kinds)(
  "$kind: the cloud's API is reached through the upstream's proxy, with the upstream's TLS settings",
  async (one) => {
    stubEnv({ ...nowhere, AWS_ACCESS_KEY_ID: 'AKID', AWS_SECRET_ACCESS_KEY: 'secret' });
    const { proxy, trusting } = await startClouds();

    expect(await one.secretWith(trusting)).toMatchObject({ password: one.password });

    expect(proxy.asked).toEqual([`CONNECT ${one.api}:443`]);
  },
);

test.each(kinds)(
  '$kind: an API with an untrusted certificate gets no request, though the registry may be trusted',
  async (one) => {
    stubEnv({ ...nowhere, AWS_ACCESS_KEY_ID: 'AKID', AWS_SECRET_ACCESS_KEY: 'secret', AWS_MAX_ATTEMPTS: '1' });
    const { asked, distrustful } = await startClouds();

    await expect(one.secretWith(distrustful)).rejects.toMatchObject({ name: 'UpstreamError' });

    expect(asked).toEqual([]);
  },
);

test.each(kinds)(
  '$kind: an upstream without a proxy does not use one of the environment for it either',
  async (one) => {
    const { proxy, trusting } = await startClouds();
    const env = { HTTPS_PROXY: proxy.url, https_proxy: proxy.url, HTTP_PROXY: proxy.url, http_proxy: proxy.url };
    stubEnv({ ...nowhere, ...env, AWS_ACCESS_KEY_ID: 'AKID', AWS_SECRET_ACCESS_KEY: 'secret', AWS_MAX_ATTEMPTS: '1' });

    await expect(one.secretWith({ ...trusting, proxy: { except: [] } })).rejects.toMatchObject({
      name: 'UpstreamError',
    });

    expect(proxy.asked).toEqual([]);
  },
);

test('a role is assumed (IRSA) through the same proxy, with the token of the pod', async () => {
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, 'POD');
  stubEnv({
    ...nowhere,
    AWS_ACCESS_KEY_ID: '',
    AWS_WEB_IDENTITY_TOKEN_FILE: tokenFile,
    AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/mirror',
  });
  const { proxy, trusting } = await startClouds();

  expect(await createEcrCredentials({}, accountDeps(ecr, { settings: trusting })).secret(unlimited)).toMatchObject({
    password: 'from:ecr',
  });

  expect(proxy.asked).toEqual([`CONNECT ${apis.sts}:443`, `CONNECT ${apis.ecr}:443`]);
});
