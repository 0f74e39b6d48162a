import { expect, test } from 'vitest';
import { abortable } from '../../../../src/mirror/concurrency/abortable-wait.ts';
import { TooManyWaiters } from '../../../../src/mirror/concurrency/upstream-waiters.ts';
import { RepositoryHidden } from '../../../../src/mirror/ports/upstream.ts';
import type { FreshnessRules } from '../../../../src/mirror/tags/freshness.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { defaultRules } from '../../../support/freshness-rules.ts';
import { gate } from '../../../support/gate.ts';
import {
  down,
  expired,
  gone,
  minute,
  one,
  recordOf,
  repositoryId,
  started,
  tag,
  tooSlow,
  two,
} from './scripted-tags.ts';

/** A replica that has never seen the tag; another cache recorded it ten minutes ago. The upstream gives no answer. */
function withoutUpstream(rules: Partial<FreshnessRules> = {}, askCachesWithinMs = minute) {
  const all = started(rules, askCachesWithinMs);
  all.script.get = () => Promise.reject(down);
  const told = recordOf(one, all.clock.now() - 10 * minute);
  all.script.elsewhere = async () => told;
  return { ...all, told };
}

/** A wait that ends with its signal. Its signals are kept. */
function silent() {
  const signals: AbortSignal[] = [];
  const ask = ({ signal }: { readonly signal: AbortSignal }): Promise<never> => {
    signals.push(signal);
    return abortable(new Promise<never>(() => {}), signal);
  };
  return { signals, ask };
}

test('while the upstream gives no answer, a tag that only another cache has is served stale, by one question for all clients', async () => {
  const { resolve, asked, askedCaches, told, clock } = withoutUpstream();
  for (const { record, cache } of await Promise.all([resolve(), resolve()])) {
    expect(record).toEqual(told);
    expect(cache).toMatchObject({ word: 'stale', reason: 'connect' });
  }
  clock.advance(29_999);
  expect((await resolve()).cache.word).toBe('stale');
  expect({ asked, askedCaches }).toEqual({ asked: ['GET latest'], askedCaches: [tag] });
  clock.advance(1);
  expect((await resolve()).cache.word).toBe('revalidated');
  expect({ asked, askedCaches }).toEqual({ asked: ['GET latest', 'HEAD latest'], askedCaches: [tag] });
});

test('without any cache that has the tag the client gets the error of the upstream', async () => {
  const { resolve, script, askedCaches } = withoutUpstream();
  script.elsewhere = async () => undefined;
  await expect(resolve()).rejects.toBe(down);
  expect(askedCaches).toEqual([tag]);
});

test.each([
  { what: 'lacks the tag', cause: gone },
  { what: 'hides the repository', cause: new RepositoryHidden(repositoryId) },
  { what: 'refuses the client', cause: new OciError('DENIED', 'no access') },
])('no other cache is asked for a tag when the upstream $what', async ({ cause }) => {
  const { resolve, script, askedCaches } = withoutUpstream();
  script.get = () => Promise.reject(cause);
  await expect(resolve()).rejects.toBe(cause);
  expect(askedCaches).toEqual([]);
});

test('no other cache is asked when too many clients wait for the upstream', async () => {
  const { resolve, script, askedCaches } = withoutUpstream();
  script.isCrowded = true;
  await expect(resolve()).rejects.toBeInstanceOf(TooManyWaiters);
  expect(askedCaches).toEqual([]);
});

test.each([
  {
    what: 'the rules forbid stale answers for this reason',
    rules: { staleOn: { ...defaultRules.staleOn, connect: 'fail' as const } },
    asks: [],
  },
  { what: 'it is stale for too long', rules: { staleForMs: 9 * minute }, asks: [tag] },
])('the tag of another cache is not served when $what', async ({ rules, asks }) => {
  const { resolve, askedCaches } = withoutUpstream(rules);
  await expect(resolve()).rejects.toBe(down);
  expect(askedCaches).toEqual(asks);
});

test('what another cache has recorded in the future counts as recorded now', async () => {
  const { resolve, script, clock } = withoutUpstream();
  script.elsewhere = async () => recordOf(one, clock.now() + minute);
  expect((await resolve()).record.confirmedAtMs).toBe(clock.now());
});

test.each([
  { what: 'fails', cause: new UpstreamError('connect', 'no sibling'), failures: [] },
  { what: 'fails for an unknown reason', cause: new Error('a bug'), failures: ['other caches'] },
])('when another cache $what the client gets the error of the upstream', async ({ cause, failures }) => {
  const { resolve, script, observer } = withoutUpstream();
  script.elsewhere = () => Promise.reject(cause);
  await expect(resolve()).rejects.toBe(down);
  expect(observer.failures.map(({ part }) => part)).toEqual(failures);
});

test('another cache that does not answer is not waited for longer than its time', async () => {
  const { resolve, script, observer } = withoutUpstream({}, 20);
  const { signals, ask } = silent();
  script.elsewhere = ask;
  await expect(resolve()).rejects.toBe(down);
  expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  script.elsewhere = () => new Promise(() => {});
  await expect(resolve()).rejects.toBe(down);
  expect(observer.failures).toEqual([]);
});

test('the question to another cache ends with the last client', async () => {
  const { resolve, script } = withoutUpstream();
  const { signals, ask } = silent();
  script.elsewhere = ask;
  const leaving = new AbortController();
  const resolved = resolve({ signal: leaving.signal });
  await expect.poll(() => signals.length).toBe(1);
  leaving.abort(new Error('the client left'));
  await expect(resolved).rejects.toThrow('the client left');
  expect(signals[0]?.aborted).toBe(true);
});

test('a known tag is served from another cache only if its image is not cached here', async () => {
  const { resolve, script, askedCaches, cached, clock } = await expired();
  script.head = () => Promise.reject(down);
  script.elsewhere = async () => recordOf(two, clock.now());
  expect((await resolve()).record.digest).toBe(one.digest);
  expect(askedCaches).toEqual([]);
  clock.advance(30_000);
  cached.clear();
  expect(await resolve()).toMatchObject({ record: { digest: two.digest }, cache: { word: 'stale' } });
});

test('while the upstream is slow the tag of another cache is served, until its late answer', async () => {
  const { resolve, script, asked, upstream } = withoutUpstream();
  const answer = gate();
  let isAborted = false;
  upstream.getManifest = (_, reference, { signal }) => {
    asked.push(`GET ${reference}`);
    signal.addEventListener('abort', () => (isAborted = true));
    return answer.opened.then(() => two);
  };
  script.timeout = tooSlow();
  const leaving = new AbortController();
  expect(await resolve({ signal: leaving.signal })).toMatchObject({
    record: { digest: one.digest },
    cache: { word: 'stale', reason: 'timeout' },
  });
  leaving.abort(new Error('the client left'));
  expect(isAborted).toBe(false);
  answer.open();
  await expect.poll(async () => (await resolve()).record.digest).toBe(two.digest);
  expect(asked).toEqual(['GET latest']);
});

test('a slow upstream that answers before another cache does is served, and the other cache is not asked any more', async () => {
  const { resolve, script } = withoutUpstream();
  const { signals, ask } = silent();
  const answer = gate();
  script.elsewhere = ask;
  script.get = () => answer.opened.then(() => two);
  script.timeout = tooSlow();
  const resolved = resolve();
  await expect.poll(() => signals.length).toBe(1);
  answer.open();
  expect(await resolved).toMatchObject({ record: { digest: two.digest }, cache: { word: 'miss' } });
  expect(signals[0]?.aborted).toBe(true);
});

test("a late answer's record is not replaced by what another cache has recorded", async () => {
  const { resolve, script, tagRecords, told } = withoutUpstream();
  script.elsewhere = async () => {
    tagRecords.put(repositoryId, tag, recordOf(two, told.confirmedAtMs + minute));
    return told;
  };
  await resolve();
  expect(tagRecords.remembered(repositoryId, tag)?.digest).toBe(two.digest);
});

test('the manifest of a tag that another cache has recorded is served stale, or fails as the upstream does', async () => {
  const { tags, upstream, script, resolve } = withoutUpstream();
  const resolved = await resolve();
  const fetch = () => tags.fetch({ upstream, repositoryId, tag }, resolved, { signal: new AbortController().signal });
  script.fetching = () => Promise.reject(down);
  await expect(fetch()).rejects.toBe(down);
  script.fetching = async () => one;
  expect(await fetch()).toMatchObject({
    manifest: { digest: one.digest },
    cache: { word: 'stale', reason: 'connect' },
    confirmedAtMs: resolved.record.confirmedAtMs,
  });
});
