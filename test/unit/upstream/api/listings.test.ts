import { describe, expect, test } from 'vitest';
import { parseDigest } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { image, referrerOf } from '../../../support/images.ts';
import { countConnections } from '../count-connections.ts';
import { sendJson, type Server, serve } from '../serve.ts';
import { clientOf, unlimited } from '../start-client.ts';

const repository = parseRepository('team/app');
const someDigest = parseDigest(`sha256:${'a'.repeat(64)}`);

test('all tags are listed, page by page', async () => {
  const registry = await startFakeRegistry({ tagsPerPage: 2 });
  const tags = ['v1', 'v2', 'v3', 'v4', 'v5'];
  for (const tag of tags) registry.content.add(repository, tag, image());
  const { client, observer } = clientOf(registry.url);

  expect(await client.listTags(repository, unlimited)).toEqual(tags);
  expect(registry.requests[0]?.query.get('n')).toBe('1000');
  expect(observer.story).toEqual(Array.from({ length: 3 }, () => 'GET tags 200'));
});

test('a repository without tags has an empty list, also when the registry sends null', async () => {
  const registry = await serve((_, response) => sendJson(response, { name: repository, tags: null }));

  expect(await clientOf(registry.url).client.listTags(repository, unlimited)).toEqual([]);
});

test('the tags of a repository that the upstream lacks are unknown', async () => {
  const registry = await startFakeRegistry();

  await expect(clientOf(registry.url).client.listTags(repository, unlimited)).rejects.toMatchObject({
    code: 'NAME_UNKNOWN',
  });
});

describe('the next page is requested at the URL of the first, with the query of the Link', () => {
  const path = '/v2/team/app/tags/list';

  test.each([
    { who: 'Artifactory, which leaves out its repository key', link: '/v2/app/tags/list?last=10000&n=1000' },
    {
      who: 'Nexus, which names the path of another connector',
      link: 'http://127.0.0.1:1/repository/docker-proxy/v2/team/app/tags/list?n=1000&last=10000',
    },
    { who: 'Quay, which has an opaque token', link: `${path}?next_page=gAAA%3D%3D%2Ba&last=10000&n=50` },
    {
      who: 'a registry behind a proxy that ends TLS',
      link: 'http://registry.internal/v2/team/app/tags/list?last=10000',
    },
    { who: 'a registry that names the query alone', link: '?last=10000' },
    { who: 'a registry that names no URL', link: 'http://[bad/v2/?last=10000#fragment' },
    {
      who: 'GHCR, which says n=0 where the request named no number',
      link: `${path}?n=0&last=10000`,
      query: '?last=10000&n=1000',
    },
    { who: 'a registry that says ns=', link: `${path}?ns=docker.io&last=10000` },
  ])('of $who', async ({ link, query = /\?[^#]*/.exec(link)?.[0] }) => {
    const registry = await serve(({ url }, response) => {
      if (url.pathname !== path) return sendJson(response, {}, 404);
      if (url.searchParams.has('last')) return sendJson(response, { tags: ['b'] });
      sendJson(response, { tags: ['a'] }, 200, { link: `<${link}>; rel="next"` });
    });

    expect(await clientOf(registry.url).client.listTags(repository, unlimited)).toEqual(['a', 'b']);
    expect(registry.seen.map(({ url }) => url.search)).toEqual(['?n=1000', query]);
  });

  test('when the Link names another host, which gets no request', async () => {
    const evil = await countConnections();
    const registry = await serve(({ url }, response) => {
      const link = `<http://127.0.0.1:${evil.port}/v2/team/app/tags/list?last=a>; rel="next"`;
      const isLast = url.searchParams.has('last');
      sendJson(response, { tags: [isLast ? 'b' : 'a'] }, 200, isLast ? {} : { link });
    });
    const settings = { redirectHosts: [`127.0.0.1:${evil.port}`], realmHosts: [`127.0.0.1:${evil.port}`] };

    expect(await clientOf(registry.url, settings).client.listTags(repository, unlimited)).toEqual(['a', 'b']);
    expect(evil.connections()).toBe(0);
  });

  test('and a Link without a query is rejected: a list is never shortened', async () => {
    const registry = await serve((_, response) =>
      sendJson(response, { tags: ['a'] }, 200, { link: `<${path}/2>; rel="next"` }),
    );

    await expect(clientOf(registry.url).client.listTags(repository, unlimited)).rejects.toMatchObject({
      reason: 'misbehaving',
    });
    expect(registry.seen).toHaveLength(1);
  });
});

test.each([
  { what: 'refuses pages of a thousand', status: 400, after: 0 },
  { what: 'knows no pages', status: 405, after: 0 },
  { what: 'does not find the second page of a thousand', status: 404, after: 1 },
])('a registry that $what is asked for pages of its own size', async ({ status, after }) => {
  const registry = await serve(({ url }, response) => {
    if (!url.searchParams.has('n')) {
      const isLast = url.searchParams.has('last');
      const headers: Record<string, string> = isLast ? {} : { link: '<?last=b>; rel="next"' };
      return sendJson(response, { tags: isLast ? ['c'] : ['a', 'b'] }, 200, headers);
    }
    if (registry.seen.length > after) return sendJson(response, {}, status);
    sendJson(response, { tags: ['a'] }, 200, { link: '<?n=1000&last=a>; rel="next"' });
  });

  expect(await clientOf(registry.url).client.listTags(repository, unlimited)).toEqual(['a', 'b', 'c']);
  expect(registry.seen.map(({ url }) => url.searchParams.has('n'))).toEqual([
    ...Array(after + 1).fill(true),
    false,
    false,
  ]);
});

test.each([404, 401, 403, 429])('a list that is answered with %i is not requested again', async (status) => {
  const registry = await serve((_, response) => sendJson(response, {}, status));

  await expect(clientOf(registry.url).client.listTags(repository, unlimited)).rejects.toBeInstanceOf(Error);
  const asked = registry.seen.map(({ url }) => url.pathname + url.search);
  expect(asked.filter((path) => path.endsWith('tags/list'))).toEqual([]);
});

/** A registry with an endless chain of pages; `tagsOf` says what is on the nth. */
function endless(tagsOf: (page: number) => readonly string[], linkOf = (page: number) => `?n=1&last=${page}`) {
  let page = 0;
  return serve((_, response) => {
    page += 1;
    sendJson(response, { tags: tagsOf(page) }, 200, { link: `<${linkOf(page)}>; rel="next"` });
  });
}

const namesOf = (page: number, count: number) => Array.from({ length: count }, (_, at) => `${page}-${at}`);

test.each([
  {
    what: 'leads back to a page that was read',
    registry: () =>
      endless(
        (page) => [`${page}`],
        () => '?n=1',
      ),
    asked: 2,
  },
  { what: 'brings the same tags again', registry: () => endless(() => ['a']), asked: 2 },
  { what: 'brings no tags, but a next page', registry: () => endless(() => []), asked: 1 },
  { what: 'has more than 200 pages', registry: () => endless((page) => [`${page}`]), asked: 200 },
  { what: 'has more than 200,000 tags', registry: () => endless((page) => namesOf(page, 50_000)), asked: 5 },
  {
    what: 'has a page of more than 4 MiB',
    registry: () => endless(() => Array.from({ length: 43_000 }, (_, at) => `${at}-${'x'.repeat(100)}`)),
    asked: 1,
  },
  {
    what: 'has more than 16 MiB in all',
    registry: () => endless((page) => Array.from({ length: 35_000 }, (_, at) => `${page}-${at}-${'x'.repeat(100)}`)),
    asked: 5,
  },
])('a listing that $what is given up after $asked requests', async ({ registry, asked }) => {
  const { url, seen } = await registry();

  await expect(clientOf(url).client.listTags(repository, unlimited)).rejects.toMatchObject({
    reason: 'misbehaving',
  });
  expect(seen).toHaveLength(asked);
});

test('referrers of more than 4 MiB in total, which no client accepts as one index, are given up', async () => {
  const descriptor = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: someDigest, size: 1 };
  const manifests = Array.from({ length: 15_000 }, () => descriptor);
  let page = 0;
  const registry = await serve((_, response) => {
    page += 1;
    sendJson(response, { manifests }, 200, { link: `<?page=${page}>; rel="next"` });
  });

  await expect(clientOf(registry.url).client.listReferrers(repository, someDigest, unlimited)).rejects.toMatchObject({
    reason: 'misbehaving',
  });
  expect(registry.seen.length).toBeLessThanOrEqual(3);
});

test('a listing that fails on a later page fails as a whole', async () => {
  const registry = await serve(({ url }, response) => {
    if (url.searchParams.has('last')) return sendJson(response, {}, 503);
    sendJson(response, { tags: ['a'] }, 200, { link: '<?last=a>; rel="next"' });
  });

  await expect(clientOf(registry.url).client.listTags(repository, unlimited)).rejects.toMatchObject({
    reason: 'unavailable',
  });
});

test.each(['<html>', '[]', 'null', '{}', '{"tags":"a"}'])('%s is rejected as a listing', async (body) => {
  const registry = await serve((_, response) => void response.end(body));

  await expect(clientOf(registry.url).client.listTags(repository, unlimited)).rejects.toMatchObject({
    reason: 'misbehaving',
  });
});

test.each([
  { how: 'by the referrers API', referrersApi: true, answers: ['GET referrers 200'] },
  { how: 'by the tag schema', referrersApi: false, answers: ['GET referrers 404', 'GET manifest 200'] },
])('referrers are listed $how', async ({ referrersApi, answers }) => {
  const registry = await startFakeRegistry({ referrersApi });
  const app = image();
  const signature = referrerOf(app.manifest);
  registry.content.add(repository, 'latest', app, [signature]);
  const { client, observer } = clientOf(registry.url);

  const referrers = await client.listReferrers(repository, app.manifest.digest, unlimited);

  expect(referrers).toEqual([
    expect.objectContaining({ digest: signature.manifest.digest, artifactType: signature.artifactType }),
  ]);
  expect(observer.story).toEqual(answers);
});

test('a manifest without referrers has an empty list, with the referrers API or without', async () => {
  for (const referrersApi of [true, false]) {
    const registry = await startFakeRegistry({ referrersApi });
    const app = image();
    registry.content.add(repository, 'latest', app);

    expect(await clientOf(registry.url).client.listReferrers(repository, app.manifest.digest, unlimited)).toEqual([]);
  }
});

test.each([400, 405, 406, 501])('a registry that answers %i to the referrers API lacks it', async (status) => {
  const registry = await serve((_, response) =>
    sendJson(response, {}, response.req.url?.includes('/referrers/') ? status : 404),
  );

  expect(await clientOf(registry.url).client.listReferrers(repository, someDigest, unlimited)).toEqual([]);
});

test('the fallback tag cuts long digests at 64 characters', async () => {
  const registry: Server = await serve((_, response) => sendJson(response, {}, 404));
  const long = parseDigest(`sha512:${'b'.repeat(128)}`);

  await clientOf(registry.url).client.listReferrers(repository, long, unlimited);

  expect(registry.story()).toEqual([
    `GET /v2/team/app/referrers/${long}`,
    `GET /v2/team/app/manifests/sha512-${'b'.repeat(64)}`,
  ]);
});

test.each([
  { status: 401, expected: { code: 'DENIED' } },
  { status: 429, expected: { reason: 'overloaded' } },
  { status: 500, expected: { reason: 'unavailable' } },
])('a referrers API that answers $status does not mean that there are no referrers', async ({ status, expected }) => {
  const registry = await serve((_, response) => sendJson(response, {}, status));

  await expect(clientOf(registry.url).client.listReferrers(repository, someDigest, unlimited)).rejects.toMatchObject(
    expected,
  );
  expect(registry.story()).not.toContain(`GET /v2/team/app/manifests/sha256-${'a'.repeat(64)}`);
});

test('referrers on several pages are all listed, and entries that are no descriptors are dropped', async () => {
  const descriptor = { mediaType: 'application/vnd.example', digest: someDigest, size: 1 };
  const registry = await serve(({ url }, response) =>
    url.searchParams.has('page')
      ? sendJson(response, { manifests: [descriptor] })
      : sendJson(response, { manifests: [descriptor, { digest: 'x' }] }, 200, { link: '<?page=2>; rel="next"' }),
  );

  expect(await clientOf(registry.url).client.listReferrers(repository, someDigest, unlimited)).toEqual([
    descriptor,
    descriptor,
  ]);
});

test.each(['tags', 'referrers'] as const)(
  'an account that may not list %s is denied; a rejected account is an upstream error',
  async (what) => {
    const registry = await serve(({ headers }, response) => {
      const isKnown = headers.authorization === `Basic ${btoa('reader:right')}`;
      sendJson(response, {}, isKnown ? 403 : 401, { 'www-authenticate': 'Basic' });
    });
    const listed = async (password: string) => {
      const credentials = [
        { kind: 'basic', repositories: ['**'], username: 'reader', readPassword: async () => password },
      ] as const;
      const { client } = clientOf(registry.url, { credentials });
      return what === 'tags'
        ? client.listTags(repository, unlimited)
        : client.listReferrers(repository, someDigest, unlimited);
    };

    await expect(listed('right')).rejects.toMatchObject({ name: 'OciError', code: 'DENIED' });
    await expect(listed('wrong')).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused' });
  },
);
