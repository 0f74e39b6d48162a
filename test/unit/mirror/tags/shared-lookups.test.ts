import { expect, test } from 'vitest';
import { abortable } from '../../../../src/mirror/concurrency/abortable-wait.ts';
import type { TagRecord } from '../../../../src/mirror/ports/record-store.ts';
import type { TagTurn } from '../../../../src/mirror/ports/shared-work.ts';
import type { FreshnessRules } from '../../../../src/mirror/tags/freshness.ts';
import { gate } from '../../../support/gate.ts';
import {
  down,
  expired,
  gone,
  headOf,
  minute,
  one,
  recordOf,
  repositoryId,
  started,
  tag,
  tooSlow,
  two,
} from './scripted-tags.ts';

/** A replica whose lookup no other replica has just made. `story` has what it tells the others. */
function claiming(script: { turn: (...args: never) => Promise<TagTurn> }) {
  const story: string[] = [];
  const claim = {
    answered: ({ digest }: TagRecord, freshForMs: number) => story.push(`${digest} for ${freshForMs} ms`),
    [Symbol.dispose]: () => story.push('released'),
  };
  script.turn = async () => {
    story.push('claimed');
    return { kind: 'ask', claim };
  };
  return story;
}

async function claimed(rules: Partial<FreshnessRules> = {}) {
  const all = await expired(rules);
  return { ...all, story: claiming(all.script) };
}

test.each([
  { what: 'an unknown', set: async () => started() },
  { what: 'an expired', set: async () => expired() },
])('$what tag that another replica has just looked up costs no upstream request', async ({ set }) => {
  const { resolve, script, asked, clock, tagRecords } = await set();
  let turns = 0;
  const told = recordOf(two, clock.now() - minute / 2);
  script.turn = async () => {
    turns += 1;
    return { kind: 'answered', record: told };
  };
  const resolved = await Promise.all([resolve(), resolve()]);
  for (const { record, cache } of resolved) {
    expect(record).toMatchObject(told);
    expect(cache).toEqual({ word: 'hit' });
  }
  clock.advance(minute / 2 - 1);
  expect((await resolve()).cache.word).toBe('hit');
  expect({ turns, asked }).toEqual({ turns: 1, asked: [] });
  expect(tagRecords.remembered(repositoryId, tag)?.digest).toBe(two.digest);
  clock.advance(1);
  await resolve();
  expect({ turns, asked }).toEqual({ turns: 2, asked: ['HEAD latest'] });
});

test("what another replica has learnt is not served beyond this replica's own lifetime", async () => {
  const { resolve, script, asked, clock } = await expired();
  script.turn = async () => ({ kind: 'answered', record: recordOf(two, clock.now() - minute) });
  expect(await resolve()).toMatchObject({ record: { digest: one.digest }, cache: { word: 'revalidated' } });
  expect(asked).toEqual(['HEAD latest']);
});

test('what another replica has learnt in the future counts as learnt now', async () => {
  const { resolve, script, asked, clock } = started();
  script.turn = async () => ({ kind: 'answered', record: recordOf(one, clock.now() + 60 * minute) });
  expect((await resolve()).record.confirmedAtMs).toBe(clock.now());
  expect(asked).toEqual([]);
});

test('the image before a tag moved is remembered, also when another replica found out', async () => {
  const { resolve, script, clock } = await expired();
  script.turn = async () => ({ kind: 'answered', record: recordOf(two, clock.now()) });
  expect((await resolve()).record.previous).toBe(one.digest);
});

test('other replicas are told what the upstream has answered, and for how long it holds', async () => {
  const { resolve, story, asked } = await claimed();
  await Promise.all([resolve(), resolve(), resolve()]);
  expect(asked).toEqual(['HEAD latest']);
  expect(story).toEqual(['claimed', `${one.digest} for ${minute} ms`, 'released']);
});

test('a tag without a lifetime is asked for by each replica', async () => {
  const { resolve, asked, story } = await claimed({ tagMs: 0 });
  await resolve();
  expect(asked).toEqual(['HEAD latest']);
  expect(story).toEqual([]);
});

test.each([
  { what: 'gives no answer', cause: down },
  { what: 'lacks the tag', cause: gone },
])('a claim is released when the upstream $what', async ({ cause }) => {
  const { resolve, script, story } = await claimed();
  script.head = () => Promise.reject(cause);
  expect((await resolve()).cache.word).toBe('stale');
  expect(story).toEqual(['claimed', 'released']);
});

test('a claim is held until a late answer, which other replicas are told', async () => {
  const { resolve, script, story } = await claimed();
  const answer = gate();
  script.head = () => answer.opened.then(() => headOf(two));
  script.timeout = tooSlow();
  expect((await resolve()).cache.word).toBe('stale');
  expect(story).toEqual(['claimed']);
  answer.open();
  await expect.poll(() => story).toEqual(['claimed', `${two.digest} for ${minute} ms`, 'released']);
});

test('a claim is released when the last client leaves', async () => {
  const { resolve, script, story, upstream } = await claimed();
  upstream.headManifest = (_, __, { signal }) => abortable(script.head(), signal);
  script.head = () => new Promise(() => {});
  const leaving = new AbortController();
  const resolved = resolve({ signal: leaving.signal });
  await expect.poll(() => story).toEqual(['claimed']);
  leaving.abort(new Error('the client left'));
  await expect(resolved).rejects.toThrow('the client left');
  await expect.poll(() => story).toEqual(['claimed', 'released']);
});

test('a replica whose turn cannot be taken asks the upstream', async () => {
  const { resolve, script, asked, observer } = await expired();
  script.turn = () => Promise.reject(new Error('no Redis'));
  expect((await resolve()).cache.word).toBe('revalidated');
  expect(asked).toEqual(['HEAD latest']);
  expect(observer.failures.map(({ part }) => part)).toEqual(['shared tags']);
});

test('while another replica has no answer either, the cached image is served, and the wait ends with the last client', async () => {
  const { resolve, script, asked } = await expired();
  const signals: AbortSignal[] = [];
  script.turn = (_, __, { signal }) => {
    signals.push(signal);
    return abortable(new Promise(() => {}), signal);
  };
  const leaving = new AbortController();
  const left = resolve({ signal: leaving.signal });
  await expect.poll(() => signals.length).toBe(1);
  leaving.abort(new Error('the client left'));
  await expect(left).rejects.toThrow('the client left');
  expect(signals[0]?.aborted).toBe(true);
  script.timeout = tooSlow();
  expect((await resolve()).cache).toMatchObject({ word: 'stale', reason: 'timeout' });
  expect(asked).toEqual([]);
});

test('a manifest that the upstream no longer has is looked up there, whatever other replicas have learnt', async () => {
  const { tags, upstream, script, asked, clock } = await expired();
  script.turn = async () => ({ kind: 'answered', record: recordOf(two, clock.now()) });
  const waiting = { signal: new AbortController().signal };
  const resolved = await tags.resolve({ upstream, repositoryId, tag, wantsBody: true }, waiting);
  script.fetching = () => Promise.reject(gone);
  script.get = async () => one;
  const fetched = await tags.fetch({ upstream, repositoryId, tag }, resolved, waiting);
  expect(fetched.manifest.digest).toBe(one.digest);
  expect(asked).toEqual(['GET latest']);
});

test('while the image that another replica has learnt cannot be fetched, the image before is served', async () => {
  const { tags, upstream, script, clock } = await expired();
  script.turn = async () => ({ kind: 'answered', record: recordOf(two, clock.now()) });
  const waiting = { signal: new AbortController().signal };
  const resolved = await tags.resolve({ upstream, repositoryId, tag, wantsBody: true }, waiting);
  script.fetching = () => Promise.reject(down);
  const fetched = await tags.fetch({ upstream, repositoryId, tag }, resolved, waiting);
  expect(fetched).toMatchObject({ manifest: { digest: one.digest }, cache: { word: 'stale', reason: 'connect' } });
});
