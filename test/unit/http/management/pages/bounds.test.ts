import Koa, { type Middleware } from 'koa';
import { expect, test } from 'vitest';
import type { Administration } from '../../../../../src/http/management/api/routes.ts';
import { ManagementPages } from '../../../../../src/http/management/pages/pages.ts';
import { publicPages } from '../../../../../src/http/management/pages/public-pages.ts';
import { Exchange, type ExchangeState, RequestDeadline } from '../../../../../src/http/server/exchange.ts';
import { gate } from '../../../../support/gate.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';
import { serveApp } from '../../../../support/serve.ts';

/** Pages whose upstreams are told only when the test says so. */
function heldAdministration(most: number) {
  const [rest, all] = [gate(), gate()];
  let running = 0;
  const upstreams = async () => {
    running += 1;
    if (running === most) all.open();
    await rest.opened;
    return { items: [] };
  };
  const held: Partial<Administration> = { upstreams };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- /start asks for nothing else
  return { rest, all, administration: held as Administration };
}

async function serve(middleware: Middleware<ExchangeState>): Promise<() => Promise<Response>> {
  const app = new Koa<ExchangeState>();
  const deadline = new RequestDeadline({ deadlineMs: undefined });
  app.use((ctx, next) => {
    ctx.state = { exchange: new Exchange(ctx.res, deadline) };
    return next();
  });
  app.use(middleware);
  const url = await serveApp(app);
  return () => fetch(`${url}/start`, { headers: { accept: 'text/html' } });
}

const clock = new ManualClock();
const own = { clock, host: '127.0.0.1', hosts: [], readToken: undefined, report: () => {} };
const clients = () => ({ port: 5000, isTls: false });
const mirror = { catalog: async () => ({ names: [], lookedTo: undefined }), mayBeListed: async () => false };

test.each([
  [
    'the management listener',
    32,
    (administration: Administration) => new ManagementPages({ ...own, administration, clients }).middleware(),
  ],
  [
    'the listener for clients',
    8,
    (administration: Administration) => publicPages({ administration, mirror, isTls: false, clock }),
  ],
])('of too many pages of %s at the same time, the rest is told to come again', async (_, most, pages) => {
  const { rest, all, administration } = heldAdministration(most);
  const ask = await serve(pages(administration));
  const asked = Array.from({ length: most }, ask);
  await all.opened;
  const refused = await ask();
  expect(refused.status).toBe(503);
  expect(await refused.text()).toContain('<h1>The mirror cannot do this now</h1>');
  rest.open();
  expect((await Promise.all(asked)).map(({ status }) => status)).toEqual(Array.from({ length: most }, () => 200));
  expect((await ask()).status).toBe(200);
});
