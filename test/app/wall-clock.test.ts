import { expect, test } from 'vitest';
import { circuitIs } from '../support/circuit.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const manifest = (reference: string): string => `/v2/${repository}/manifests/${reference}`;
const dayMs = 86_400_000;

/** A mirror whose wall clock is a day ahead or behind. */
async function started(wrongByMs: number, freshness: object = {}) {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const app = await startApp(mirrorOf(upstream, { freshness }));
  app.clock.setWallClock(wrongByMs);
  return { upstream, app, putRight: () => app.clock.setWallClock(-wrongByMs) };
}

test.each([dayMs, -dayMs])(
  'an upstream that failed while the clock was wrong by %d ms is asked again ten seconds later, though the clock was corrected',
  async (wrongByMs) => {
    const { upstream, app, putRight } = await started(wrongByMs);
    upstream.script({}, { dropConnection: true });
    for (const tag of ['a', 'b', 'c']) expect((await ask(app, manifest(tag))).status).toBe(503);
    await circuitIs(app, 'open');
    upstream.clearScripts();
    putRight();

    expect((await ask(app, manifest('1'))).status).toBe(503);
    app.clock.advance(10_000);
    expect((await ask(app, manifest('1'))).status).toBe(200);
  },
);

test.each([dayMs, -dayMs])(
  'a 404 from when the clock was wrong by %d ms is remembered for half a minute, though the clock was corrected',
  async (wrongByMs) => {
    const { upstream, app, putRight } = await started(wrongByMs, { missing: '30s' });
    expect((await ask(app, manifest('2'))).status).toBe(404);
    upstream.content.add(repository, '2', image());
    putRight();

    app.clock.advance(29_999);
    expect((await ask(app, manifest('2'))).status).toBe(404);
    app.clock.advance(1);
    expect((await ask(app, manifest('2'))).status).toBe(200);
  },
);

test('a tag that was confirmed while the clock was ahead is not served stale if stale answers are forbidden', async () => {
  const { upstream, app, putRight } = await started(dayMs, { tag: '1m', staleFor: '0s' });
  expect((await ask(app, manifest('1'))).status).toBe(200);
  putRight();
  upstream.script({}, { status: 503 });
  expect((await ask(app, manifest('1'))).status).toBe(503);
});

test('a tag that was confirmed while the clock was ahead is served stale if stale answers are allowed', async () => {
  const { upstream, app, putRight } = await started(dayMs, { tag: '1m' });
  expect((await ask(app, manifest('1'))).status).toBe(200);
  putRight();
  upstream.script({}, { status: 503 });
  expect(await ask(app, manifest('1'))).toMatchObject({
    status: 200,
    cache: 'fwd=stale; fwd-status=503; detail=stale',
  });
});
