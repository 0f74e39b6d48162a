import nock from 'nock';
import { beforeEach, expect, test } from 'vitest';
import { parseRepository } from '../../../../../src/oci/reference.ts';
import { sendJson, serve } from '../../serve.ts';
import { clientOf, unlimited } from '../../start-client.ts';
import { awsToken, stubAws } from '../stub-aws.ts';

const hour = 3_600_000;
const [app, other] = [parseRepository('alias/app'), parseRepository('alias/other')];

beforeEach(stubAws);

const aws = () =>
  nock('https://api.ecr-public.us-east-1.amazonaws.com')
    .post('/')
    .matchHeader('x-amz-target', 'SpencerFrontendService.GetAuthorizationToken');

/** The public gallery: tokens with the scope `aws`, for requests with the token from AWS. */
async function start() {
  const registry = await serve(({ url, headers }, response) => {
    const isKnown = headers.authorization === `Basic ${btoa('AWS:awsToken')}`;
    if (url.pathname === '/token/')
      return sendJson(response, { token: `for-${url.searchParams.get('scope')}` }, isKnown ? 200 : 401);
    const isLetIn = headers.authorization === 'Bearer for-aws';
    sendJson(response, { tags: [] }, isLetIn ? 200 : 401, {
      'www-authenticate': `Bearer realm="${registry.url}/token/",service="public.ecr.aws",scope="aws"`,
    });
  });
  return { registry, ...clientOf(registry.url, { credentials: [{ kind: 'ecr-public', repositories: ['**'] }] }) };
}

test('AWS credentials give one token for all repositories of the public gallery', async () => {
  const { registry, client, clock } = await start();
  aws().reply(200, { authorizationData: awsToken('awsToken', clock.now() + 12 * hour) });

  await client.listTags(app, unlimited);
  await client.listTags(other, unlimited);

  expect(registry.story().filter((one) => one === 'GET /token/')).toHaveLength(1);
  expect(nock.pendingMocks()).toEqual([]);
});

test('ten concurrent pulls cause one request to AWS and one for a token of the gallery', async () => {
  const { registry, client, clock } = await start();
  aws().reply(200, { authorizationData: awsToken('awsToken', clock.now() + 12 * hour) });

  await Promise.all(Array.from({ length: 10 }, () => client.listTags(app, unlimited)));

  expect(registry.story().filter((one) => one === 'GET /token/')).toHaveLength(1);
});

test('the token from AWS is renewed after half its lifetime', async () => {
  const { client, clock } = await start();
  aws().reply(200, { authorizationData: awsToken('awsToken', clock.now() + 12 * hour) });
  await client.listTags(app, unlimited);
  const renewal = aws().reply(200, { authorizationData: awsToken('awsToken', clock.now() + 24 * hour) });
  clock.advance(7 * hour);

  await client.listTags(app, unlimited);

  await expect.poll(() => renewal.isDone()).toBe(true);
});

test('when AWS rejects the account, the mirror does not pull anonymously instead', async () => {
  const { registry, client } = await start();
  aws().reply(400, { __type: 'AccessDeniedException' });

  await expect(client.listTags(app, unlimited)).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused' });

  expect(registry.story()).toEqual(['GET /v2/alias/app/tags/list']);
});
