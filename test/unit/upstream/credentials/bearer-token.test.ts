import { expect, test } from 'vitest';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { sendJson, serve } from '../serve.ts';
import { clientOf, patiently } from '../start-client.ts';

const repository = parseRepository('team/app');

async function start(held: readonly string[], challenge: string) {
  const registry = await serve(({ headers }, response) => {
    const isLetIn = headers.authorization === 'Bearer good';
    sendJson(response, { tags: [] }, isLetIn ? 200 : 401, {
      'www-authenticate': challenge.replace('HERE', registry.url),
    });
  });
  const secrets = [...held];
  const readToken = async () => (secrets.length > 1 ? secrets.shift() : secrets[0]) ?? '';
  const { client } = clientOf(registry.url, {
    credentials: [{ kind: 'bearer-token', repositories: ['**'], readToken }],
  });
  return { registry, pull: () => client.listTags(repository, patiently) };
}

test.each(['Bearer realm="HERE/token",service="s"', 'Bearer', 'Basic realm="x"'])(
  'a token is sent as it is to a registry that demands %s',
  async (challenge) => {
    const { registry, pull } = await start(['good'], challenge);

    await pull();
    await pull();

    expect(registry.seen.map(({ headers }) => headers.authorization)).toEqual([
      undefined,
      'Bearer good',
      'Bearer good',
    ]);
  },
);

test('one that was rotated is read anew', async () => {
  const { pull } = await start(['old', 'good'], 'Bearer realm="HERE/token"');

  expect(await pull()).toEqual([]);
});

test('one that stays refused is sent once', async () => {
  const { registry, pull } = await start(['bad'], 'Bearer realm="HERE/token"');

  await expect(pull()).rejects.toMatchObject({ trouble: 'refused' });

  expect(registry.seen).toHaveLength(2);
});
