import { expect, test } from 'vitest';
import { parseRepository } from '../../../../../src/oci/reference.ts';
import { startFakeRegistry } from '../../../../support/fake-registry.ts';
import { image } from '../../../../support/images.ts';
import { sendJson, serve } from '../../serve.ts';
import { clientOf, unlimited } from '../../start-client.ts';

const repository = parseRepository('group/project');

/** GitLab beside its registry: two hosts, tokens of five minutes. */
async function start(held: readonly string[]) {
  let issued = 0;
  const gitlab = await serve(({ headers, url }, response) => {
    const isKnown = headers.authorization === `Basic ${Buffer.from('deploy:glpat-good').toString('base64')}`;
    if (!isKnown) return sendJson(response, { errors: [{ code: 'DENIED' }] }, 403);
    issued += 1;
    sendJson(response, { token: `jwt-${issued}-${url.searchParams.get('scope')}`, expires_in: 300 });
  });
  const registry = await serve(({ headers }, response) => {
    const isLetIn = headers.authorization === `Bearer jwt-${issued}-repository:group/project:pull`;
    sendJson(response, { tags: [] }, isLetIn ? 200 : 401, {
      'www-authenticate': `Bearer realm="${gitlab.url}/jwt/auth",service="container_registry"`,
    });
  });
  const secrets = [...held];
  const readToken = async () => (secrets.length > 1 ? secrets.shift() : secrets[0]) ?? '';
  const credentials = [{ kind: 'gitlab', repositories: ['**'], username: 'deploy', readToken }] as const;
  const connected = clientOf(registry.url, { credentials, realmHosts: [gitlab.host] });
  return { gitlab, registry, pull: () => connected.client.listTags(repository, unlimited), ...connected };
}

test('a deploy token gets a pull token from GitLab, which is another host', async () => {
  const { gitlab, registry, pull } = await start(['glpat-good']);

  await pull();

  expect(gitlab.seen.map(({ url }) => Object.fromEntries(url.searchParams))).toEqual([
    {
      service: 'container_registry',
      scope: 'repository:group/project:pull',
      account: 'deploy',
      client_id: 'layerwell',
    },
  ]);
  expect(registry.seen).toHaveLength(2);
});

test('its token is renewed in the middle of a long pull, before it expires', async () => {
  const { gitlab, registry, pull, clock } = await start(['glpat-good']);
  await pull();
  clock.advance(280_000);

  await pull();

  expect(gitlab.seen).toHaveLength(2);
  expect(registry.seen).toHaveLength(3);
});

test('a rotated deploy token is read again', async () => {
  const { pull } = await start(['glpat-old', 'glpat-good']);

  expect(await pull()).toEqual([]);
});

test('one that is rejected is tried once', async () => {
  const { gitlab, pull } = await start(['glpat-revoked']);

  await expect(pull()).rejects.toMatchObject({ reason: 'refused' });

  expect(gitlab.seen).toHaveLength(1);
});

test('ten concurrent pulls need one token', async () => {
  const { gitlab, pull } = await start(['glpat-good']);

  await Promise.all(Array.from({ length: 10 }, pull));

  expect(gitlab.seen).toHaveLength(1);
});

test('an unreadable secret fails the request, and the error does not quote it', async () => {
  const registry = await startFakeRegistry({ auth: { kind: 'basic', username: 'deploy', password: 'x' } });
  registry.content.add(repository, 'v1', image());
  const readToken = () => Promise.reject(new Error('EACCES: permission denied'));
  const credentials = [{ kind: 'gitlab', repositories: ['**'], username: 'deploy', readToken }] as const;

  const pulled = clientOf(registry.url, { credentials }).client.listTags(repository, unlimited);

  await expect(pulled).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused' });
});
