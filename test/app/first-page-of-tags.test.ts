import { expect, test } from 'vitest';
import { ask, caughtUp, open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const listPath = `/v2/${repository}/tags/list`;
const list = /\/tags\/list$/;

const namesFrom = (first: number, count: number) =>
  Array.from({ length: count }, (_, at) => `v${String(first + at).padStart(5, '0')}`);

/** An upstream with 500 tags in pages of 50, of which the second is held. */
async function started(): Promise<{
  readonly upstream: FakeRegistry;
  readonly app: RunningApp;
  readonly later: ReturnType<typeof gate>;
}> {
  const upstream = await startFakeRegistry({ tagsPerPage: 50 });
  for (const tag of namesFrom(0, 500)) upstream.content.add(repository, tag, image());
  const later = gate();
  upstream.script({ path: list, times: 1 }, {});
  upstream.script({ path: list }, { holdHeaders: later });
  return { upstream, app: await startApp(mirrorOf(upstream)), later };
}

/** An upstream that sends these lists, one after another, page by page, each when its gate is open. */
async function sending(lists: readonly (readonly (readonly string[])[])[]) {
  const upstream = await startFakeRegistry();
  const pages = lists.flatMap((list_) => list_.map((tags, at) => ({ tags, hasNext: at + 1 < list_.length })));
  const gates = pages.map(() => gate());
  for (const [at, { tags, hasNext }] of pages.entries()) {
    const link = hasNext ? { headers: { link: `<?last=${at}>; rel="next"` } } : {};
    const body = () => Buffer.from(JSON.stringify({ tags }));
    const until = gates[at];
    upstream.script({ path: list, times: 1 }, { status: 200, body, ...link, ...(until && { holdHeaders: until }) });
  }
  const releasePages = (...numbers: readonly number[]) => numbers.forEach((at) => gates[at]?.open());
  return { upstream, app: await startApp(mirrorOf(upstream)), releasePages };
}

async function page(app: RunningApp, query: string, path = listPath) {
  const { status, body, headers, cache } = await ask(app, `${path}${query}`);
  const { tags }: { readonly tags: unknown } = JSON.parse(body.toString());
  return { status, tags, link: headers['link'], cache };
}

test('a client that asks for 50 tags gets them as soon as the first page arrives from the upstream', async () => {
  const { upstream, app, later } = await started();
  expect(await page(app, '?n=50')).toEqual({
    status: 200,
    tags: namesFrom(0, 50),
    link: `<${listPath}?n=50&last=v00049>; rel="next"`,
    cache: 'fwd=uri-miss; fwd-status=200',
  });
  expect(upstream.count('GET', list)).toBeLessThanOrEqual(2);
  later.open();
});

test('each further page is sent when it is known, all pages match the whole list, and each is requested once', async () => {
  const { upstream, app, later } = await started();
  const pages = [await page(app, '?n=50')];
  const second = page(app, '?n=50&last=v00049');
  await upstream.arrived('GET', list, 2);
  later.open();
  pages.push(await second);
  while (pages.at(-1)?.link !== undefined) {
    const [, next = ''] = /<([^>]*)>/.exec(String(pages.at(-1)?.link)) ?? [];
    pages.push(await page(app, '', next));
  }
  expect(pages.flatMap(({ tags }) => tags)).toEqual(namesFrom(0, 500));
  expect((await page(app, '')).tags).toEqual(namesFrom(0, 500));
  expect(upstream.count('GET', list)).toBe(10);
});

test('a client that asks for more than the first page has waits for the next', async () => {
  const { upstream, app, later } = await started();
  let isAnswered = false;
  const asked = page(app, '?n=60').finally(() => {
    isAnswered = true;
  });
  await upstream.arrived('GET', list, 2);
  expect((await page(app, '?n=5')).tags).toEqual(namesFrom(0, 5));
  expect(isAnswered).toBe(false);
  later.open();
  expect((await asked).tags).toEqual(namesFrom(0, 60));
});

test('the list is still fetched, once, when the client leaves after the first page', async () => {
  const { upstream, app, later } = await started();
  await Promise.all(Array.from({ length: 20 }, () => page(app, '?n=10')));
  const leaving = await open(app, `${listPath}?n=10`);
  leaving.hangUp();
  await caughtUp(app);
  later.open();
  expect((await page(app, '')).tags).toHaveLength(500);
  expect((await page(app, '?n=10')).cache).toBe('hit');
  expect(upstream.count('GET', list)).toBe(10);
});

test("when the upstream's tags are in another order, a page is answered from the whole list", async () => {
  const { upstream, app, releasePages } = await sending([[['v9', 'v10'], ['v1']]]);
  releasePages(0);
  const asked = page(app, '?n=1');
  await upstream.arrived('GET', list, 2);
  releasePages(1);
  expect(await asked).toMatchObject({ tags: ['v1'], link: expect.stringContaining('last=v1>') });
});

test('after an upstream sent tags out of order, its lists are fetched whole before a page is answered', async () => {
  const { upstream, app, releasePages } = await sending([
    [['v1', 'v2'], ['v0']],
    [['b', 'c'], ['a']],
  ]);
  releasePages(0);
  expect((await page(app, '?n=1')).tags).toEqual(['v1']);
  releasePages(1);
  expect((await page(app, '?n=9')).tags).toEqual(['v0', 'v1', 'v2']);
  releasePages(2);
  const asked = page(app, '?n=1', '/v2/library/other/tags/list');
  await upstream.arrived('GET', list, 4);
  releasePages(3);
  expect((await asked).tags).toEqual(['a']);
});

test('an unknown repository is 404, and a list that fails later is an error on the first page that is not known', async () => {
  const { upstream, app, later } = await started();
  expect((await ask(app, '/v2/library/none/tags/list?n=5')).status).toBe(404);
  upstream.clearScripts();
  upstream.script({ path: list, times: 1 }, {});
  upstream.script({ path: list }, { status: 403 });
  expect((await page(app, '?n=50')).status).toBe(200);
  later.open();
  expect((await ask(app, `${listPath}?n=50&last=v00049`)).status).toBeGreaterThanOrEqual(400);
});

test("an expired list is revalidated, and its first page is sent as soon as the upstream's first page arrives", async () => {
  const { upstream, app, later } = await started();
  later.open();
  await page(app, '');
  await app.quiet();
  app.clock.advance(6 * 60_000);
  upstream.content.add(repository, 'a-new-one', image());
  const held = gate();
  upstream.clearScripts();
  upstream.script({ path: list, times: 1 }, {});
  upstream.script({ path: list }, { holdHeaders: held });
  expect(await page(app, '?n=2')).toMatchObject({
    tags: ['a-new-one', 'v00000'],
    cache: 'fwd=stale; fwd-status=200; detail=revalidated',
  });
  held.open();
});
