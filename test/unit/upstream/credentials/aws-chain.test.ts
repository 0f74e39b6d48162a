import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { createEcrCredentials } from '../../../../src/upstream/credentials/kinds/ecr.ts';
import { gate } from '../../../support/gate.ts';
import { thisTest } from '../../../support/owner.ts';
import { type Source, type SourceAnswer, type SourceRequest, startSource } from '../../../support/source.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { unlimited } from '../start-client.ts';
import { accountDeps } from './account-deps.ts';
import { awsToken } from './stub-aws.ts';

const inAnHour = () => new Date(Date.now() + 3_600_000).toISOString();
const ecrOf = () => createEcrCredentials({}, accountDeps('123456789012.dkr.ecr.eu-west-1.amazonaws.com'));

function stubEnv(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries({ ...nothing, ...env })) vi.stubEnv(name, value);
  thisTest(async () => void vi.unstubAllEnvs());
}

const nothing = {
  AWS_ACCESS_KEY_ID: '',
  AWS_SECRET_ACCESS_KEY: '',
  AWS_CONFIG_FILE: '/nowhere',
  AWS_SHARED_CREDENTIALS_FILE: '/nowhere',
};

async function fileWith(text: string): Promise<string> {
  const file = join(await temporaryDirectory(), 'file');
  await writeFile(file, text);
  return file;
}

/** ECR's API; the signature of a request names its account. */
async function startEcr(): Promise<Source & { readonly signers: () => readonly string[] }> {
  const api = await startSource(() => ({
    status: 200,
    body: { authorizationData: [awsToken('awsToken', Date.now() + 1e9)] },
  }));
  const signers = () =>
    api.asked.map(({ headers }) => /Credential=(\w+)\//.exec(headers.authorization ?? '')?.[1] ?? '');
  return { ...api, signers };
}

const identity = (key: string) => ({
  AccessKeyId: key,
  SecretAccessKey: 'secret',
  Token: 'session',
  Expiration: inAnHour(),
});

/** The metadata service of an instance, which gives nothing without a token of its own (IMDSv2). */
function instance({ method, url, headers }: SourceRequest): SourceAnswer {
  if (method === 'PUT' && url.pathname === '/latest/api/token') return { status: 200, body: 'imds-token' };
  if (headers['x-aws-ec2-metadata-token'] !== 'imds-token') return { status: 401, body: '' };
  const isRole = url.pathname.endsWith('/security-credentials/');
  return { status: 200, body: isRole ? 'mirror-role' : identity('AKIDINSTANCE') };
}

/** The agent of EKS Pod Identity. */
function podAgent({ headers }: SourceRequest): SourceAnswer {
  return headers.authorization === 'pod-token' ? { status: 200, body: identity('AKIDPOD') } : { status: 403, body: '' };
}

const ways = [
  {
    way: 'the environment',
    env: async () => ({ AWS_ACCESS_KEY_ID: 'AKIDENV', AWS_SECRET_ACCESS_KEY: 'secret' }),
    signer: 'AKIDENV',
  },
  {
    way: 'the shared files, by a profile',
    env: async () => ({
      AWS_PROFILE: 'mirror',
      AWS_SHARED_CREDENTIALS_FILE: await fileWith(
        '[mirror]\naws_access_key_id = AKIDFILE\naws_secret_access_key = secret\n',
      ),
    }),
    signer: 'AKIDFILE',
  },
  {
    way: 'Pod Identity',
    env: async () => ({
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${(await startSource(podAgent)).url}/v1/credentials`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: await fileWith('pod-token'),
    }),
    signer: 'AKIDPOD',
  },
  {
    way: 'the instance (IMDSv2)',
    env: async () => ({ AWS_EC2_METADATA_SERVICE_ENDPOINT: (await startSource(instance)).url }),
    signer: 'AKIDINSTANCE',
  },
];

test.each(ways)('AWS credentials come from $way', async ({ env, signer }) => {
  const ecr = await startEcr();
  stubEnv({ AWS_ENDPOINT_URL_ECR: ecr.url, ...(await env()) });

  expect(await ecrOf().secret(unlimited)).toEqual({ kind: 'basic', username: 'AWS', password: 'awsToken' });

  expect(ecr.signers()).toEqual([signer]);
});

test('a hanging AWS metadata service is given up in time, and asked again later', async () => {
  const timeouts: AbortController[] = [];
  vi.spyOn(AbortSignal, 'timeout').mockImplementation(() => {
    const timeout = new AbortController();
    timeouts.push(timeout);
    return timeout.signal;
  });
  thisTest(async () => void vi.restoreAllMocks());
  const sts = await startSource(() => ({ status: 200, body: '' }));
  sts.hold(gate());
  stubEnv({
    AWS_ENDPOINT_URL_STS: sts.url,
    AWS_WEB_IDENTITY_TOKEN_FILE: await fileWith('token'),
    AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/mirror',
  });
  const credentials = ecrOf();
  const giveUp = () => timeouts.forEach((timeout) => timeout.abort(new DOMException('too late', 'TimeoutError')));

  for (const asked of [1, 2]) {
    const waiting = credentials.secret(unlimited);
    await expect.poll(() => sts.asked.length).toBe(asked);
    giveUp();
    await expect(waiting).rejects.toMatchObject({ reason: 'timeout' });
  }
});
