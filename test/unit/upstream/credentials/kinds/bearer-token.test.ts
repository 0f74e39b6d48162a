import { expect, test } from 'vitest';
import { parseRepository } from '../../../../../src/oci/reference.ts';
import { sendJson, serve } from '../../serve.ts';
import { clientOf, unlimited } from '../../start-client.ts';

const [app, other] = [parseRepository('team/app'), parseRepository('team/other')];

/** A registry whose token endpoint answers POST with `postStatus`, and trades `refresh-1` for tokens. */
async function start({ postStatus = 200, accepted = 'refresh-1', held = ['refresh-1'] } = {}) {
  const registry = await serve(({ method, url, headers, form }, response) => {
    if (url.pathname !== '/oauth2/token') {
      const isLetIn = headers.authorization === 'Bearer access';
      return sendJson(response, { tags: [] }, isLetIn ? 200 : 401, {
        'www-authenticate': `Bearer realm="${registry.url}/oauth2/token",service="acr"`,
      });
    }
    const basic = Buffer.from((headers.authorization ?? '').replace('Basic ', ''), 'base64').toString();
    const shown = method === 'POST' ? form.get('refresh_token') : basic.split(':')[1];
    const status = method === 'POST' && postStatus !== 200 ? postStatus : shown === accepted ? 200 : 401;
    sendJson(response, { access_token: 'access', expires_in: 3_600 }, status);
  });
  const secrets = [...held];
  const readToken = async () => (secrets.length > 1 ? secrets.shift() : secrets[0]) ?? '';
  const credentials = [{ kind: 'bearer-token', repositories: ['**'], readToken }] as const;
  const connected = clientOf(registry.url, { credentials });
  const pull = (repository = app) => connected.client.listTags(repository, unlimited);
  return { registry, pull, ...connected };
}

test('a refresh token is exchanged with a POST, and never sent to the registry itself', async () => {
  const { registry, pull } = await start();

  await pull();

  expect(registry.story()).toEqual(['GET /v2/team/app/tags/list', 'POST /oauth2/token', 'GET /v2/team/app/tags/list']);
  expect(Object.fromEntries(registry.seen[1]?.form ?? [])).toEqual({
    grant_type: 'refresh_token',
    refresh_token: 'refresh-1',
    client_id: 'layerwell',
    service: 'acr',
    scope: 'repository:team/app:pull',
  });
  expect(registry.seen[1]?.headers['content-type']).toBe('application/x-www-form-urlencoded');
  const toRegistry = registry.seen.filter(({ url }) => url.pathname.startsWith('/v2/'));
  expect(toRegistry.map(({ headers }) => headers.authorization)).toEqual([undefined, 'Bearer access']);
});

test.each([400, 401, 404, 405])('an endpoint that answers %i to a POST is asked with GET', async (postStatus) => {
  const { registry, pull } = await start({ postStatus });

  await pull();

  expect(registry.story().slice(1, 3)).toEqual(['POST /oauth2/token', 'GET /oauth2/token']);
});

test('an endpoint that fails is not asked in another way', async () => {
  const { registry, pull } = await start({ postStatus: 503 });

  await expect(pull()).rejects.toMatchObject({ reason: 'unavailable' });

  expect(new Set(registry.story().filter((one) => one.endsWith('/token')))).toEqual(new Set(['POST /oauth2/token']));
});

test('its token is renewed before it expires', async () => {
  const { registry, pull, clock } = await start();
  await pull();
  clock.advance(3_600_000);

  await pull();

  expect(registry.story().filter((one) => one === 'POST /oauth2/token')).toHaveLength(2);
});

test('a rotated refresh token is read again', async () => {
  const { pull } = await start({ accepted: 'refresh-2', held: ['refresh-1', 'refresh-2'] });

  expect(await pull()).toEqual([]);
});

test('one that stays rejected is tried once in each way', async () => {
  const { registry, pull } = await start({ accepted: 'another' });

  await expect(pull()).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused' });

  expect(registry.story().slice(1)).toEqual(['POST /oauth2/token', 'GET /oauth2/token']);
});

test('ten concurrent pulls from one repository exchange it once, and another repository gets its own token', async () => {
  const { registry, pull } = await start();

  await Promise.all(Array.from({ length: 10 }, () => pull()));
  await pull(other);

  expect(registry.story().filter((one) => one === 'POST /oauth2/token')).toHaveLength(2);
});
