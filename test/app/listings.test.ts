import { describe, expect, test } from 'vitest';
import { namedBy } from '../../src/oci/manifest.ts';
import { ociIndex } from '../../src/oci/media-types.ts';
import { ask, caughtUp, open, type WholeAnswer } from '../support/client.ts';
import { type FakeRegistry, type FakeRegistryOptions, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image, referrerOf } from '../support/images.ts';
import { longestTurnMs } from '../support/longest-turn.ts';
import { pullAll } from '../support/pull.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const listPath = `/v2/${repository}/tags/list`;
const minute = 60_000;
const subject = image();
const signature = referrerOf(subject.manifest);
const document = referrerOf(subject.manifest, { artifactType: 'application/vnd.example.sbom', text: 'parts' });
const referrersPath = `/v2/${repository}/referrers/${subject.manifest.digest}`;

async function started(
  tags: readonly string[],
  { config = {}, ...options }: FakeRegistryOptions & { readonly config?: MirrorConfig } = {},
): Promise<{ readonly upstream: FakeRegistry; readonly app: RunningApp }> {
  const upstream = await startFakeRegistry(options);
  for (const tag of tags) upstream.content.add(repository, tag, subject, tag === tags[0] ? [signature, document] : []);
  return { upstream, app: await startAppInMemory(mirrorOf(upstream, config)) };
}

function json(answer: WholeAnswer): unknown {
  return JSON.parse(answer.body.toString());
}

/** The path of the next page, as the answer tells it. */
function nextOf({ headers }: WholeAnswer): string | undefined {
  const [, path] = /^<([^>]+)>; rel="next"$/.exec(String(headers['link'] ?? '')) ?? [];
  return path;
}

function namesIn(page: unknown): readonly string[] {
  const [names] = typeof page === 'object' && page !== null ? Object.values(page).filter(Array.isArray) : [];
  if (!names) throw new Error(`no list: ${JSON.stringify(page)}`);
  return names.map(String);
}

/** All names of a list, page by page. */
async function follow(app: RunningApp, path: string): Promise<readonly (readonly string[])[]> {
  const pages: (readonly string[])[] = [];
  for (let next: string | undefined = path; next !== undefined; ) {
    const answer = await ask(app, next);
    expect(answer.status).toBe(200);
    pages.push(namesIn(json(answer)));
    next = nextOf(answer);
  }
  return pages;
}

describe('tags', () => {
  const tags = ['a', 'b', 'c', 'd', 'e'];

  test('are listed in order, under the name the client wrote', async () => {
    const { app } = await started(['v10', 'latest', 'V1', 'v9', '_x']);
    const answer = await ask(app, listPath);
    expect(answer).toMatchObject({ status: 200, cache: 'fwd=uri-miss; fwd-status=200; stored' });
    expect(json(answer)).toEqual({ name: repository, tags: ['V1', '_x', 'latest', 'v10', 'v9'] });
    expect(json(await ask(app, '/v2/docker.io/app/tags/list'))).toMatchObject({ name: 'docker.io/app' });
    const head = await ask(app, listPath, { method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, headers: { 'content-length': answer.headers['content-length'] } });
  });

  test('come in pages as large as the client wants, each leading to the next', async () => {
    const { app, upstream } = await started(tags);
    expect(await follow(app, `${listPath}?n=2`)).toEqual([['a', 'b'], ['c', 'd'], ['e']]);
    expect(await follow(app, `${listPath}?n=5`)).toEqual([tags]);
    expect(await follow(app, `${listPath}?n=1000000`)).toEqual([tags]);
    expect(await follow(app, `/docker.io/v2/app/tags/list?ns=docker.io&n=3`)).toEqual([
      ['a', 'b', 'c'],
      ['d', 'e'],
    ]);
    expect(upstream.count()).toBe(1);
  });

  test('begin after the last one the client knows, though that one is gone', async () => {
    const { app } = await started(tags);
    expect(await follow(app, `${listPath}?last=c`)).toEqual([['d', 'e']]);
    expect(await follow(app, `${listPath}?last=bb&n=1`)).toEqual([['c'], ['d'], ['e']]);
    expect(await follow(app, `${listPath}?last=zz`)).toEqual([[]]);
    expect(await follow(app, `${listPath}?n=0`)).toEqual([[]]);
  });

  test.each([['-1'], ['1.5'], ['x'], ['99999999999'], ['']])('n=%s is rejected', async (n) => {
    const { app, upstream } = await started(tags);
    const answer = await ask(app, `${listPath}?n=${n}`);
    expect(answer.status).toBe(400);
    expect(json(answer)).toMatchObject({ errors: [{ code: 'PAGINATION_NUMBER_INVALID' }] });
    expect(upstream.count()).toBe(0);
  });

  test('are complete though the upstream sends them in pages', async () => {
    const { app, upstream } = await started(tags, { tagsPerPage: 2 });
    expect(await follow(app, listPath)).toEqual([tags]);
    expect(upstream.count()).toBe(3);
  });

  test('cost one request for all concurrent clients, and none within the lifetime', async () => {
    const { app, upstream } = await started(tags);
    const answering = gate();
    upstream.script({ times: 1 }, { holdHeaders: answering });
    const clients = Array.from({ length: 10 }, () => ask(app, listPath));
    await upstream.arrived('GET', /\/tags\/list$/);
    await caughtUp(app);
    answering.open();
    const caches = (await Promise.all(clients)).map(({ cache }) => cache);
    expect(caches.filter((cache) => cache.endsWith('stored'))).toHaveLength(1);
    expect(caches.filter((cache) => cache.endsWith('collapsed'))).toHaveLength(9);
    expect((await ask(app, listPath)).cache).toBe('hit');
    expect(upstream.count()).toBe(1);
  });

  test.each([
    { tag: '1m', lifetimeMs: minute },
    { tag: '30d', lifetimeMs: 5 * minute },
    { tag: 'forever', lifetimeMs: 5 * minute },
  ])(
    'that are new appear after the lifetime of a tag, $tag, but after five minutes at the latest',
    async ({ tag, lifetimeMs }) => {
      const { app, upstream } = await started(['a'], { config: { freshness: { tag } } });
      await ask(app, listPath);
      upstream.content.add(repository, 'b', subject);
      app.clock.advance(lifetimeMs - 1);
      expect(await follow(app, listPath)).toEqual([['a']]);
      app.clock.advance(1);
      expect((await ask(app, listPath)).cache).toBe('fwd=stale; fwd-status=200; detail=revalidated');
      expect(await follow(app, listPath)).toEqual([['a', 'b']]);
    },
  );

  test('on more pages than are fetched are listed page by page, each with one upstream request', async () => {
    const many = Array.from({ length: 1_010 }, (_, at) => `v${String(at).padStart(4, '0')}`);
    const { app, upstream } = await started(many, { tagsPerPage: 5 });
    const first = await ask(app, listPath);
    expect({ status: first.status, names: namesIn(json(first)) }).toEqual({ status: 200, names: many.slice(0, 5) });
    expect(upstream.count('GET', /tags/)).toBe(201);
    upstream.forgetRequests();
    const last = `?n=20&last=${many.at(-13)}`;
    expect(await follow(app, `${listPath}${last}`)).toEqual([many.slice(-12, -7), many.slice(-7, -2), many.slice(-2)]);
    expect(upstream.count('GET', /tags/)).toBe(3);
    expect(namesIn(json(await ask(app, `${listPath}?n=2`)))).toEqual(many.slice(0, 2));
  });

  test('on more pages than are fetched, of a registry that ignores where a page begins, are no endless list but 502', async () => {
    const many = Array.from({ length: 210 }, (_, at) => `v${String(at).padStart(4, '0')}`);
    const { app, upstream } = await started(many, { tagsPerPage: 1 });
    const first = await ask(app, listPath);
    expect(first.status).toBe(200);
    const names = JSON.stringify({ name: repository, tags: many.slice(0, 1) });
    const link = '<?n=1&page=2>; rel="next"';
    upstream.script({ path: /tags\/list$/ }, { body: () => Buffer.from(names), headers: { link } });
    expect((await ask(app, nextOf(first) ?? '')).status).toBe(502);
  });

  test('on more pages than are fetched are fetched as a whole again once they fit', async () => {
    const many = Array.from({ length: 210 }, (_, at) => `v${String(at).padStart(4, '0')}`);
    const { app, upstream } = await started(many, { tagsPerPage: 1 });
    expect(await ask(app, listPath)).toMatchObject({ status: 200, cache: 'fwd=uri-miss; fwd-status=200' });
    upstream.script(
      { path: /tags\/list$/ },
      { body: () => Buffer.from('{"tags":["a","b"]}'), withoutHeaders: ['link'] },
    );
    app.clock.advance(5 * minute);
    expect(await follow(app, listPath)).toEqual([['a', 'b']]);
    expect((await ask(app, listPath)).cache).toBe('hit');
  });

  test('in pages that link to each other are answered 502 after two upstream requests', async () => {
    const { app, upstream } = await started(tags);
    upstream.script({ path: /tags\/list$/ }, { headers: { link: '<?n=1&last=a>; rel="next"' } });
    const answer = await ask(app, listPath);
    expect(answer.status).toBe(502);
    expect(answer.body.toString()).toContain('endless chain');
    expect(upstream.count()).toBe(2);
  });

  test('in a list of the maximum length block no other request, neither when they are fetched nor page by page', async () => {
    const { app, upstream } = await started(tags);
    const names = (page: number) =>
      Array.from({ length: 22_000 }, (_, at) => `${(at * 7_919) % 22_000}-${page}-${'x'.repeat(70)}`);
    const bodies = Array.from({ length: 9 }, (_, page) => Buffer.from(JSON.stringify({ tags: names(page) })));
    for (const [page, body] of bodies.entries()) {
      const link = page < 8 ? { headers: { link: `<?n=1000&last=${page}>; rel="next"` } } : {};
      upstream.script({ path: /tags\/list$/, times: 1 }, { body: () => body, ...link });
    }
    const first = await longestTurnMs(async () => void (await ask(app, `${listPath}?n=1`)));
    expect(first).toBeLessThan(120);
    const turn = await longestTurnMs(async () => {
      for (let page = 0; page < 20; page += 1) await ask(app, `${listPath}?n=1&last=${page % 9}-5`);
    });
    expect(turn).toBeLessThan(100);
    expect(upstream.count()).toBe(9);
  });

  test('of an unknown repository are a 404, not an empty list', async () => {
    const { app } = await started(tags);
    const answer = await ask(app, '/v2/library/none/tags/list');
    expect(answer.status).toBe(404);
    expect(json(answer)).toMatchObject({ errors: [{ code: 'NAME_UNKNOWN' }] });
  });
});

describe('referrers', () => {
  const digests = ({ body }: WholeAnswer) => namedBy(body).map(({ digest }) => digest);

  test.each([
    { what: 'by the referrers API', options: {} },
    { what: 'by their tag where the upstream has no referrers API', options: { referrersApi: false } },
  ])('are found $what, as an image index', async ({ options }) => {
    const { app, upstream } = await started(['1'], options);
    const answer = await ask(app, referrersPath);
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': ociIndex } });
    expect(json(answer)).toMatchObject({ schemaVersion: 2, mediaType: ociIndex });
    expect(digests(answer)).toEqual([signature.manifest.digest, document.manifest.digest]);
    const asked = upstream.count();
    expect((await ask(app, referrersPath)).cache).toBe('hit');
    expect(upstream.count()).toBe(asked);
  });

  test('of one type are filtered from the same list', async () => {
    const { app, upstream } = await started(['1']);
    const query = `artifactType=${encodeURIComponent(document.artifactType)}`;
    const answer = await ask(app, `${referrersPath}?${query}`);
    expect(answer.headers['oci-filters-applied']).toBe('artifactType');
    expect(digests(answer)).toEqual([document.manifest.digest]);
    expect(digests(await ask(app, `${referrersPath}?artifactType=none`))).toEqual([]);
    expect((await ask(app, referrersPath)).headers['oci-filters-applied']).toBeUndefined();
    expect(upstream.count()).toBe(1);
  });

  test.each([{ referrersApi: true }, { referrersApi: false }])(
    'of a manifest without any are an empty index, as upstream (referrers API: $referrersApi)',
    async (options) => {
      const { app, upstream } = await started(['1'], options);
      const lonely = image({ name: 'lonely' });
      upstream.content.add(repository, 'lonely', lonely);
      const answer = await ask(app, `/v2/${repository}/referrers/${lonely.manifest.digest}`);
      expect(answer.status).toBe(200);
      expect(digests(answer)).toEqual([]);
    },
  );

  test('that the upstream denies are answered as denied, not as none', async () => {
    const { app, upstream } = await started(['1']);
    upstream.script({}, { status: 403 });
    expect((await ask(app, referrersPath)).status).toBe(403);
  });
});

describe('the catalog', () => {
  test('names what is cached, page by page, and each name can be pulled', async () => {
    const upstream = await startFakeRegistry();
    const other = await startFakeRegistry();
    for (const name of ['library/b', 'library/a', 'team/c', 'never/pulled']) upstream.content.add(name, '1', subject);
    other.content.add('org/app', '1', subject);
    const app = await startAppInMemory({
      defaultUpstream: 'docker.io',
      upstreams: { 'docker.io': { url: upstream.url }, 'ghcr.test': { url: other.url } },
    });
    expect(await follow(app, '/v2/_catalog')).toEqual([[]]);
    for (const name of ['library/b', 'library/a', 'team/c', 'ghcr.test/org/app']) await pullAll(app, name, '1');
    const all = ['docker.io/library/a', 'docker.io/library/b', 'docker.io/team/c', 'ghcr.test/org/app'];
    expect(await follow(app, '/v2/_catalog')).toEqual([all]);
    expect(await follow(app, '/v2/_catalog?n=3')).toEqual([all.slice(0, 3), all.slice(3)]);
    expect(await follow(app, '/v2/_catalog?last=docker.io/library/a&n=2')).toEqual([all.slice(1, 3), all.slice(3)]);
    for (const name of all) await pullAll(app, name, '1');
    await app.restart();
    expect(await follow(app, '/v2/_catalog')).toEqual([all]);
  });
});

test('a list that is too large to be sent at once arrives whole, also at a client that reads it late', async () => {
  const tags = Array.from({ length: 1_000 }, (_, index) => `${String(index).padStart(4, '0')}-${'x'.repeat(120)}`);
  const { app } = await started(tags);
  for (const cache of [/^fwd=/, /^hit/]) {
    const answer = await open(app, listPath);
    answer.pause();
    await caughtUp(app);
    expect(answer.cache).toMatch(cache);
    expect(answer.headers).toMatchObject({ 'content-type': expect.stringContaining('application/json') });
    expect(JSON.parse((await answer.rest()).toString())).toEqual({ name: repository, tags });
  }
  const head = await ask(app, listPath, { method: 'HEAD' });
  expect(Number(head.headers['content-length'])).toBeGreaterThan(120_000);
});
