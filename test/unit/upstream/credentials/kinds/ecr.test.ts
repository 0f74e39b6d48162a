import { once } from 'node:events';
import { inspect } from 'node:util';
import nock from 'nock';
import { beforeEach, expect, test, vi } from 'vitest';
import { parseRepository, parseTag } from '../../../../../src/oci/reference.ts';
import { createEcrCredentials, parseEcrHost } from '../../../../../src/upstream/credentials/kinds/ecr.ts';
import { startFakeRegistry } from '../../../../support/fake-registry.ts';
import { image } from '../../../../support/images.ts';
import { clientOf, unlimited } from '../../start-client.ts';
import { accountDeps } from '../account-deps.ts';
import { awsToken, stubAws } from '../stub-aws.ts';

const hour = 3_600_000;
const ireland = '123456789012.dkr.ecr.eu-west-1.amazonaws.com';
const target = 'AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken';

beforeEach(stubAws);

function start(name = ireland, settings: { region?: string } = {}) {
  const deps = accountDeps(name);
  const credentials = createEcrCredentials(settings, deps);
  return { ...deps, credentials, secret: () => credentials.secret(unlimited) };
}

const aws = (host = 'api.ecr.eu-west-1.amazonaws.com') =>
  nock(`https://${host}`).post('/').matchHeader('x-amz-target', target);
const answer = (password: string, endsAtMs: number) => ({ authorizationData: [awsToken(password, endsAtMs)] });

test.each([
  { name: ireland, endpoint: 'api.ecr.eu-west-1.amazonaws.com' },
  { name: '123456789012.dkr.ecr-fips.us-east-1.amazonaws.com', endpoint: 'api.ecr-fips.us-east-1.amazonaws.com' },
  { name: '123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn', endpoint: 'api.ecr.cn-north-1.amazonaws.com.cn' },
  { name: '123456789012.dkr-ecr.eu-west-1.on.aws', endpoint: 'ecr.eu-west-1.api.aws' },
])('the token for $name comes from $endpoint, by a signed request', async ({ name, endpoint }) => {
  const { secret, clock } = start(name);
  aws(endpoint)
    .matchHeader('authorization', /Credential=AKIDEXAMPLE\/.*\/ecr\/aws4_request/)
    .reply(200, answer('from:aws', clock.now() + 12 * hour));

  expect(await secret()).toEqual({ kind: 'basic', username: 'AWS', password: 'from:aws' });
});

test('a region that is configured beats the one in the name', async () => {
  const { secret, clock } = start(ireland, { region: 'eu-central-1' });
  aws('api.ecr.eu-central-1.amazonaws.com').reply(200, answer('central', clock.now() + 12 * hour));

  expect(await secret()).toMatchObject({ password: 'central' });
});

test('a registry with a custom name needs a configured region', async () => {
  const { clock, ...configured } = start('ecr.corp.example', { region: 'eu-west-1' });
  aws().reply(200, answer('ireland', clock.now() + 12 * hour));

  expect(await configured.secret()).toMatchObject({ password: 'ireland' });
  await expect(start('ecr.corp.example').secret()).rejects.toMatchObject({
    reason: 'refused',
    message: expect.stringContaining('region'),
  });
});

test('ten concurrent pulls cause one request, and the token is renewed in the background after half its lifetime', async () => {
  const { secret, clock } = start();
  aws().reply(200, answer('first', clock.now() + 12 * hour));
  await Promise.all(Array.from({ length: 10 }, secret));
  clock.advance(6 * hour - 1);
  expect(await secret()).toMatchObject({ password: 'first' });

  aws().reply(200, answer('second', clock.now() + 12 * hour));
  clock.advance(1);

  expect(await secret()).toMatchObject({ password: 'first' });
  await expect.poll(async () => secret()).toMatchObject({ password: 'second' });
});

test('when AWS rejects the request or does not answer, the old token stays in use until it expires', async () => {
  const { secret, clock, observer } = start();
  aws().reply(200, answer('old', clock.now() + 12 * hour));
  await secret();
  aws().reply(400, { __type: 'AccessDeniedException', message: 'no longer' });
  clock.advance(6 * hour);

  expect(await secret()).toMatchObject({ password: 'old' });
  await expect.poll(() => observer.failures).toHaveLength(1);
  expect(await secret()).toMatchObject({ password: 'old' });

  aws().reply(400, { __type: 'AccessDeniedException', message: 'no longer' });
  clock.advance(6 * hour);
  await expect(secret()).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused' });
});

test.each([
  { what: 'no data', body: { authorizationData: [] } },
  { what: 'no token', body: { authorizationData: [{ expiresAt: 1 }] } },
  { what: 'a token that is none', body: { authorizationData: [{ authorizationToken: 'AAAA', expiresAt: 1 }] } },
])('an answer with $what is rejected as a token', async ({ body }) => {
  aws().reply(200, body);

  await expect(start().secret()).rejects.toMatchObject({ reason: 'misbehaving' });
});

test('an account that AWS rejects causes an error that names no key', async () => {
  aws().reply(400, {
    __type: 'UnrecognizedClientException',
    message: 'The security token included in the request is invalid.',
  });

  const failure: unknown = await start()
    .secret()
    .catch((error: unknown) => error);

  expect(failure).toMatchObject({
    name: 'UpstreamError',
    reason: 'refused',
    message: 'no credentials from AWS',
  });
  expect(inspect(failure, { depth: 9 })).not.toMatch(/secret-key|AKIDEXAMPLE/);
});

test('a machine without any AWS account causes an error', async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', '');

  await expect(start().secret()).rejects.toMatchObject({ reason: 'refused' });
});

test('an AWS that does not answer in time fails the request of each caller that waits', async () => {
  const slow = aws().delay(60_000).reply(200, {});
  const waiting = new AbortController();
  const asked = start().credentials.secret(waiting);
  await once(slow, 'request');

  waiting.abort(new Error('the client left'));

  await expect(asked).rejects.toThrow('the client left');
});

test('a registry that rejects a token before it expires causes one renewal, and only one', async () => {
  const registry = await startFakeRegistry({ auth: { kind: 'basic', username: 'AWS', password: 'second' } });
  const repository = parseRepository('team/app');
  registry.content.add(repository, 'latest', image());
  const credentials = [{ kind: 'ecr', repositories: ['**'], region: 'eu-west-1' }] as const;
  const { client, clock } = clientOf(registry.url, { credentials });
  const pull = () => client.headManifest(repository, parseTag('latest'), unlimited);
  aws().reply(200, answer('first', clock.now() + 12 * hour));
  await expect(pull()).rejects.toMatchObject({ reason: 'refused' });
  aws().reply(200, answer('second', clock.now() + 12 * hour));
  clock.advance(hour);

  expect(await pull()).toMatchObject({ size: expect.any(Number) });
  expect(nock.pendingMocks()).toEqual([]);
});

const plain = { useFipsEndpoint: false, useDualstackEndpoint: false };

test.each([
  { host: '123456789012.dkr.ecr.eu-west-1.amazonaws.com', expected: { ...plain, region: 'eu-west-1' } },
  { host: '123456789012.DKR.ecr.EU-west-1.amazonaws.com', expected: { ...plain, region: 'eu-west-1' } },
  {
    host: '123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com',
    expected: { ...plain, region: 'us-gov-west-1', useFipsEndpoint: true },
  },
  { host: '123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn', expected: { ...plain, region: 'cn-north-1' } },
  {
    host: '123456789012.dkr-ecr.eu-west-1.on.aws',
    expected: { ...plain, region: 'eu-west-1', useDualstackEndpoint: true },
  },
  {
    host: '123456789012.dkr-ecr-fips.us-east-1.on.aws',
    expected: { region: 'us-east-1', useFipsEndpoint: true, useDualstackEndpoint: true },
  },
  {
    host: '123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn',
    expected: { ...plain, region: 'cn-north-1', useDualstackEndpoint: true },
  },
  { host: '123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov', expected: { ...plain, region: 'us-iso-east-1' } },
  { host: '123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu', expected: { ...plain, region: 'eusc-de-east-1' } },
  { host: '12345.dkr.ecr.eu-west-1.amazonaws.com', expected: undefined },
  { host: '123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example', expected: undefined },
  { host: 'x.123456789012.dkr.ecr.eu-west-1.amazonaws.com', expected: undefined },
  { host: 'public.ecr.aws', expected: undefined },
])('$host: $expected', ({ host, expected }) => {
  expect(parseEcrHost(host)).toEqual(expected);
});
