import Koa from 'koa';
import { expect, test } from 'vitest';
import type { Administration } from '../../../../../src/http/management/api/routes.ts';
import { publicPages, type PublicPagesDeps } from '../../../../../src/http/management/pages/public-pages.ts';
import { Exchange, type ExchangeState, RequestDeadline } from '../../../../../src/http/server/exchange.ts';
import type { PartOfCatalog, WantedPartOfCatalog } from '../../../../../src/mirror/listings/listings.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';
import { serveApp } from '../../../../support/serve.ts';

/** Pages over a catalog of which each request finds what the test says. */
async function pagesOver(find: (wanted: WantedPartOfCatalog) => PartOfCatalog) {
  const asked: (string | undefined)[] = [];
  const mirror: PublicPagesDeps['mirror'] = {
    catalog: async (wanted) => {
      asked.push(wanted.last);
      return find(wanted);
    },
    mayBeListed: async () => false,
  };
  const none: Partial<Administration> = {};
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the list of names asks for nothing of it
  const deps = { administration: none as Administration, mirror, isTls: false, clock: new ManualClock() };
  const app = new Koa<ExchangeState>();
  const deadline = new RequestDeadline({ deadlineMs: undefined });
  app.use((ctx, next) => {
    ctx.state = { exchange: new Exchange(ctx.res, deadline) };
    return next();
  });
  app.use(publicPages(deps));
  const url = await serveApp(app);
  const ask = async (path: string) => {
    const answer = await fetch(`${url}${path}`, { headers: { accept: 'text/html' } });
    const text = await answer.text();
    const next = /rel="next" href="([^"]*)"/.exec(text)?.[1]?.replaceAll('&amp;', '&');
    return { status: answer.status, text, next };
  };
  return { asked, ask };
}

const hidden = 'docker.io/secret/plans';

test('a page of names that ended in the middle of hidden ones goes on there, and tells none of them', async () => {
  const { asked, ask } = await pagesOver(({ last }) =>
    last === hidden
      ? { names: ['docker.io/team/later'], lookedTo: undefined }
      : { names: last === undefined ? ['docker.io/app/first'] : [], lookedTo: hidden },
  );
  const first = await ask('/');
  expect(first.text).toContain('docker.io/app/first');
  expect(first.next).toMatch(/^\/\?last=docker\.io%2Fapp%2Ffirst&from=[-0-9a-f]{36}$/);
  const second = await ask(first.next ?? '');
  expect(second.text).toContain('docker.io/team/later');
  expect(second.next).toBeUndefined();
  expect(first.text + second.text).not.toContain('secret');
  expect(asked).toEqual([undefined, hidden]);
});

test('a page in which only hidden names were found says that there may be more', async () => {
  const { ask } = await pagesOver(() => ({ names: [], lookedTo: hidden }));
  const first = await ask('/');
  expect(first.text).toContain('Nothing was found so far.');
  expect(first.next).toMatch(/^\/\?from=[-0-9a-f]{36}$/);
});

test('a link that another replica made, or that is too old, begins after the last name of its page', async () => {
  const { asked, ask } = await pagesOver(() => ({ names: [], lookedTo: hidden }));
  const old = (await ask('/?last=a')).next ?? '';
  for (let page = 0; page < 1_000; page += 1) await ask('/');
  asked.length = 0;
  await ask(old);
  await ask('/?last=b&from=0ed3a2f1-1111-4222-8333-444455556666');
  expect(asked).toEqual(['a', 'b']);
});

test('a full page of names has a link to the next, by name', async () => {
  const names = Array.from({ length: 101 }, (_, place) => `docker.io/app/n${String(place).padStart(3, '0')}`);
  const { ask } = await pagesOver(({ limit }) => ({ names: names.slice(0, limit), lookedTo: names[100] }));
  const { text, next } = await ask('/');
  expect(text).toContain('n099');
  expect(text).not.toContain('n100');
  expect(next).toBe('/?last=docker.io%2Fapp%2Fn099');
});
