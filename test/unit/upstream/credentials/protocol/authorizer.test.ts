import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { ociManifest } from '../../../../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../../../../src/oci/reference.ts';
import { type Seen, sendJson, serve } from '../../serve.ts';
import { robotAccount } from '../../robot-account.ts';
import { clientOf, unlimited } from '../../start-client.ts';

const app = parseRepository('team/app');
const other = parseRepository('team/other');
const latest = parseTag('latest');

/** A registry that wants a token for every request, had at its own `/token`, with this challenge. */
async function startChallenging(challengeFor: (seen: Seen) => string | undefined) {
  const registry = await serve((seen, response) => {
    if (seen.url.pathname === '/token/lost') return void response.writeHead(404).end();
    if (seen.url.pathname === '/token')
      return sendJson(response, { token: `for-${seen.url.searchParams.get('scope')}` });
    const demanded = seen.headers.authorization === undefined ? challengeFor(seen) : undefined;
    if (demanded === '') return void response.writeHead(401).end();
    if (demanded !== undefined) return challenge(response, demanded.replace('REALM', `${registry.url}/token`));
    response.writeHead(200, { 'content-type': ociManifest, 'content-length': '19' }).end('{"schemaVersion":2}');
  });
  return { registry, ...clientOf(registry.url) };
}

test('a scope in the challenge is requested as it is, and remembered for its repository', async () => {
  const { registry, client } = await startChallenging(
    () => 'Bearer realm="REALM?kept=yes",service="a b",scope="repository:renamed/app:pull repository:base:pull"',
  );

  await client.headManifest(app, latest, unlimited);
  await client.headManifest(app, latest, unlimited);

  const tokens = registry.seen.filter(({ url }) => url.pathname === '/token').map(({ url }) => url.searchParams);
  expect(tokens.map((query) => query.getAll('scope'))).toEqual([
    ['repository:renamed/app:pull', 'repository:base:pull'],
  ]);
  expect(tokens[0]?.get('service')).toBe('a b');
  expect(tokens[0]?.get('kept')).toBe('yes');
  expect(registry.seen).toHaveLength(4);
});

test.each(['Bearer realm="REALM"', 'Bearer realm="REALM",scope=""', 'Bearer realm="REALM",scope="  "'])(
  'a challenge without a scope means pulling from the requested repository: %s',
  async (demanded) => {
    const { registry, client } = await startChallenging(() => demanded);

    await client.headManifest(app, latest, unlimited);

    expect(registry.seen[1]?.url.searchParams.getAll('scope')).toEqual(['repository:team/app:pull']);
    expect(registry.seen[1]?.url.searchParams.has('service')).toBe(false);
  },
);

test('a registry with one scope for everything (public.ecr.aws: "aws") gets one token for every repository', async () => {
  const { registry, client } = await startChallenging(
    () => 'Bearer realm="REALM",service="public.ecr.aws",scope="aws"',
  );

  await client.headManifest(app, latest, unlimited);
  await client.headManifest(other, latest, unlimited);

  expect(registry.story()).toEqual([
    'HEAD /v2/team/app/manifests/latest',
    'GET /token',
    'HEAD /v2/team/app/manifests/latest',
    'HEAD /v2/team/other/manifests/latest',
  ]);
});

test('two accounts never share a token, though the registry has one scope for all', async () => {
  const registry = await serve(({ url, headers }, response) => {
    const name = Buffer.from((headers.authorization ?? '').replace('Basic ', ''), 'base64')
      .toString()
      .split(':')[0];
    if (url.pathname === '/token') return sendJson(response, { token: `of-${name}` });
    if (headers.authorization === undefined)
      return challenge(response, `Bearer realm="${registry.url}/token",scope="aws"`);
    response.writeHead(200, { 'content-type': ociManifest, 'content-length': '19' }).end('{"schemaVersion":2}');
  });
  const credentials = [
    { ...robotAccount, repositories: [app], username: 'ann' },
    { ...robotAccount, repositories: [other], username: 'bob' },
  ];
  const { client } = clientOf(registry.url, { credentials });

  await client.headManifest(app, latest, unlimited);
  await client.headManifest(other, latest, unlimited);

  const shown = registry.seen
    .filter(({ url }) => url.pathname.startsWith('/v2/'))
    .map(({ headers }) => headers.authorization);
  expect(shown).toEqual([undefined, 'Bearer of-ann', 'Bearer of-bob']);
});

test('a registry that sends 401 without a challenge is pinged for one, and the example scope of the ping is ignored', async () => {
  const { registry, client } = await startChallenging(({ url }) =>
    url.pathname === '/v2/' ? 'Bearer realm="REALM",service="s",scope="repository:user/image:pull"' : '',
  );

  await client.headManifest(app, latest, unlimited);

  expect(registry.story()).toEqual([
    'HEAD /v2/team/app/manifests/latest',
    'GET /v2/',
    'GET /token',
    'HEAD /v2/team/app/manifests/latest',
  ]);
  expect(registry.seen[2]?.url.searchParams.get('scope')).toBe('repository:team/app:pull');
});

test('a registry that hides private repositories from anonymous requests is asked again with the account', async () => {
  const registry = await serve(({ url, headers }, response) => {
    if (url.pathname === '/v2/') return challenge(response, 'Basic realm="registry"');
    if (headers.authorization === undefined) return sendJson(response, { errors: [{ code: 'NAME_UNKNOWN' }] }, 404);
    response.writeHead(200, { 'content-type': ociManifest, 'content-length': '19' }).end('{"schemaVersion":2}');
  });
  const { client } = clientOf(registry.url, { credentials: [robotAccount] });

  expect(await client.headManifest(app, latest, unlimited)).toMatchObject({ size: 19 });
  expect(registry.story()).toEqual([
    'HEAD /v2/team/app/manifests/latest',
    'GET /v2/',
    'HEAD /v2/team/app/manifests/latest',
  ]);
});

test('a registry that never sends a challenge is pinged once, and its 404 is believed', async () => {
  const registry = await serve(({ url }, response) => sendJson(response, {}, url.pathname === '/v2/' ? 200 : 404));
  const { client } = clientOf(registry.url, { credentials: [robotAccount] });

  await expect(client.headManifest(app, latest, unlimited)).rejects.toMatchObject({ code: 'MANIFEST_UNKNOWN' });
  await expect(client.headManifest(app, latest, unlimited)).rejects.toMatchObject({ code: 'MANIFEST_UNKNOWN' });

  expect(registry.story().filter((one) => one === 'GET /v2/')).toHaveLength(1);
});

test('a registry that rejects every token is asked three times at most, and then the account counts as rejected', async () => {
  let issued = 0;
  const registry = await serve(({ url }, response) => {
    if (url.pathname === '/token') return sendJson(response, { token: `token-${issued++}` });
    challenge(response, `Bearer realm="${registry.url}/token"`);
  });
  const { client } = clientOf(registry.url, { credentials: [robotAccount] });

  const asked = client.headManifest(app, latest, unlimited);

  await expect(asked).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused', upstreamStatus: 401 });
  expect(registry.story()).toEqual([
    'HEAD /v2/team/app/manifests/latest',
    'GET /token',
    'HEAD /v2/team/app/manifests/latest',
    'GET /token',
    'HEAD /v2/team/app/manifests/latest',
  ]);
});

test('a token endpoint that returns the rejected token again ends this sooner', async () => {
  const registry = await serve(({ url }, response) => {
    if (url.pathname === '/token') return sendJson(response, { token: 'always-the-same' });
    challenge(response, `Bearer realm="${registry.url}/token"`);
  });
  const { client } = clientOf(registry.url);

  await expect(client.headManifest(app, latest, unlimited)).rejects.toMatchObject({ code: 'DENIED' });

  expect(registry.seen).toHaveLength(4);
});

function challenge(response: ServerResponse, value: string): void {
  response.writeHead(401, { 'www-authenticate': value }).end();
}

test('a challenge with a realm on an untrusted host affects only the request that got it', async () => {
  const { registry, client } = await startChallenging(({ url }) =>
    url.pathname.includes(app) ? 'Bearer realm="http://169.254.169.254/token",service="x"' : undefined,
  );

  await expect(client.headManifest(app, latest, unlimited)).rejects.toMatchObject({ reason: 'misbehaving' });
  await expect(client.headManifest(other, latest, unlimited)).resolves.toMatchObject({ mediaType: ociManifest });
  expect(registry.seen.filter(({ url }) => url.pathname.includes(other))).toHaveLength(1);
});

test('a challenge with a realm that issues no tokens affects only the request that got it', async () => {
  const { client } = await startChallenging(({ url }) =>
    url.pathname.includes(app) ? 'Bearer realm="REALM/lost",service="x"' : undefined,
  );

  await expect(client.headManifest(app, latest, unlimited)).rejects.toMatchObject({ reason: 'misbehaving' });
  await expect(client.headManifest(other, latest, unlimited)).resolves.toMatchObject({ mediaType: ociManifest });
});
