import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { gate } from '../support/gate.ts';
import { minute, one, pulled, repository } from '../support/pulled-image.ts';

const listPath = `/v2/${repository}/tags/list`;
const referrersPath = `/v2/${repository}/referrers/${one.manifest.digest}`;
/** The soft timeout before a stale answer, plus time for a busy machine. */
const aFewSecondsMs = 4_000;
const isStale = /^fwd=stale;.* detail=stale$/;

test.each([{ path: listPath }, { path: referrersPath }])(
  'a list that was fetched before is served stale: $path',
  async ({ path }) => {
    const { upstream, app } = await pulled();
    const before = await ask(app, path);
    expect(before.status).toBe(200);
    app.clock.advance(5 * minute);
    await upstream.stop();
    await app.restart();
    const answer = await ask(app, path);
    expect(answer).toMatchObject({ status: 200, body: before.body });
    expect(answer.cache).toMatch(isStale);
  },
);

test.each([{ path: listPath }, { path: referrersPath }])(
  'a list is served stale within a few seconds though the upstream never answers: $path',
  async ({ path }) => {
    const { upstream, app } = await pulled();
    const before = await ask(app, path);
    app.clock.advance(5 * minute);
    upstream.forgetRequests();
    upstream.script({}, { holdHeaders: gate() });
    const startedAt = performance.now();
    for (let time = 0; time < 5; time += 1)
      expect(await ask(app, path)).toMatchObject({ status: 200, body: before.body });
    expect(performance.now() - startedAt).toBeLessThan(aFewSecondsMs);
    expect(upstream.count()).toBe(1);
  },
);

test.each([{ path: listPath }, { path: referrersPath }])(
  'a list that was never fetched is an error, never empty: $path',
  async ({ path }) => {
    const { upstream, app } = await pulled();
    upstream.script({}, { status: 500 });
    expect((await ask(app, path)).status).toBe(503);
    await upstream.stop();
    expect((await ask(app, path)).status).toBe(503);
  },
);
