import Koa from 'koa';
import { expect, test } from 'vitest';
import { html } from '../../../../../src/http/management/pages/html.ts';
import { Live } from '../../../../../src/http/management/pages/live.ts';
import { Problem } from '../../../../../src/http/management/problems.ts';
import { type OpenAnswer, open } from '../../../../support/client.ts';
import { serveApp } from '../../../../support/serve.ts';

/** A page whose parts the test changes, and whose turns it makes. */
async function start({ most, fill = 0 }: { readonly most?: number; readonly fill?: number } = {}) {
  const page = { number: 1, fails: false, made: 0 };
  const turns = new Set<() => void>();
  const live = new Live({
    ...(most !== undefined && { most }),
    every: (tell) => {
      turns.add(tell);
      return () => turns.delete(tell);
    },
    regions: async () => {
      page.made += 1;
      if (page.fails) throw new Error('the index cannot be read');
      const still = fill === 0 ? 'still' : 'x'.repeat(fill);
      return { number: html`<b>${page.number}</b>`, still: html`<i>${still}</i>` };
    },
  });
  const app = new Koa();
  app.use((ctx) => {
    try {
      live.listen(ctx);
    } catch (error) {
      ctx.status = error instanceof Problem ? 503 : 500;
    }
  });
  const url = await serveApp(app);
  const turn = () => turns.forEach((tell) => tell());
  return { page, live, turns, turn, listen: () => open({ url }, '/') };
}

/** Reads until an event of these parts has come. */
async function readEvent(stream: OpenAnswer): Promise<object> {
  let text = '';
  while (!/data: .*\n\n/.test(text)) text += (await stream.read(1)).toString();
  return JSON.parse(/data: (.*)\n\n/.exec(text)?.[1] ?? '{}');
}

test('a listener gets every part once, and then those that changed', async () => {
  const { page, turn, listen } = await start();
  const stream = await listen();
  expect(stream.headers['content-type']).toBe('text/event-stream');
  expect(await readEvent(stream)).toEqual({ number: '<b>1</b>', still: '<i>still</i>' });
  page.number = 2;
  turn();
  expect(await readEvent(stream)).toEqual({ number: '<b>2</b>' });
  stream.hangUp();
});

test('parts are made once for all listeners, and not at all without any', async () => {
  const { page, live, turns, turn, listen } = await start();
  const streams = [await listen(), await listen(), await listen()];
  for (const stream of streams) await readEvent(stream);
  const before = page.made;
  page.number = 2;
  turn();
  for (const stream of streams) await readEvent(stream);
  expect(page.made).toBe(before + 1);
  for (const stream of streams) stream.hangUp();
  await expect.poll(() => live.listeners).toBe(0);
  expect(turns.size).toBe(0);
});

test('beyond the bound a listener is told to come later', async () => {
  const { live, listen } = await start({ most: 2 });
  const streams = [await listen(), await listen()];
  expect((await listen()).status).toBe(503);
  streams[0]?.hangUp();
  await expect.poll(() => live.listeners).toBe(1);
  expect((await listen()).status).toBe(200);
});

test('a failure leaves pages as they are, and the next turn goes on', async () => {
  const { page, turn, listen } = await start();
  const stream = await listen();
  await readEvent(stream);
  page.fails = true;
  turn();
  await stream.read(1);
  Object.assign(page, { fails: false, number: 2 });
  turn();
  expect(await readEvent(stream)).toEqual({ number: '<b>2</b>' });
  stream.hangUp();
});

test('a stream ends after thirty turns, so that who listens has to show again that it may', async () => {
  const { page, turn, listen } = await start();
  const stream = await listen();
  await readEvent(stream);
  for (let turned = 2; turned <= 30; turned += 1) {
    page.number = turned;
    turn();
    expect(await readEvent(stream)).toEqual({ number: `<b>${turned}</b>` });
  }
  expect((await stream.rest()).toString()).toBe('');
});

test('a listener that reads nothing is cut after its turns, and gives its place back', async () => {
  const { page, live, turn, listen } = await start({ fill: 8 * 1024 * 1024 });
  await listen();
  for (let turned = 0; turned < 35; turned += 1) {
    expect(live.listeners).toBe(1);
    const made = page.made;
    turn();
    await expect.poll(() => page.made).toBe(made + 1);
  }
  await expect.poll(() => live.listeners).toBe(0);
});

test('the end closes every stream, and takes no more', async () => {
  const { live, listen } = await start();
  const stream = await listen();
  await readEvent(stream);
  live.end();
  await stream.rest();
  expect((await listen()).status).toBe(503);
});
