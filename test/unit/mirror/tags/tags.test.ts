import { describe, expect, test } from 'vitest';
import { TooManyWaiters } from '../../../../src/mirror/concurrency/upstream-waiters.ts';
import { defaultRules } from '../../../support/freshness-rules.ts';
import {
  down,
  expired,
  gone,
  headOf,
  manifestNamed,
  minute,
  one,
  repositoryId,
  started,
  tag,
  tooSlow,
  two,
} from './scripted-tags.ts';

test('an unknown tag is fetched with its manifest, once for all waiters', async () => {
  const { resolve, asked } = started();
  const resolved = await Promise.all([resolve(), resolve(), resolve()]);
  expect(asked).toEqual(['GET latest']);
  expect(resolved.map(({ record }) => record.digest)).toEqual([one.digest, one.digest, one.digest]);
  expect(resolved.map(({ cache }) => cache.word)).toEqual(['miss', 'collapsed', 'collapsed']);
});

test.each([
  { what: 'is complete', head: headOf(one), asked: ['HEAD latest'] },
  {
    what: 'lacks the digest',
    head: { ...headOf(one), digest: undefined },
    asked: ['HEAD latest', 'GET latest'],
  },
  { what: 'lacks the size', head: { ...headOf(one), size: undefined }, asked: ['HEAD latest', 'GET latest'] },
])("a HEAD for an unknown tag, when the upstream's HEAD $what", async ({ head, asked: expected }) => {
  const { resolve, asked, script } = started();
  script.head = async () => head;
  expect((await resolve({ wantsBody: false })).record.digest).toBe(one.digest);
  expect(asked).toEqual(expected);
});

test('a tag within its lifetime causes no upstream request and no wait', async () => {
  const { resolve, asked, clock, tags, upstream } = started();
  await resolve();
  clock.advance(minute - 1);
  expect((await resolve()).cache.word).toBe('hit');
  expect(tags.fresh(upstream, repositoryId, tag)?.cache.word).toBe('hit');
  expect(asked).toEqual(['GET latest']);
  clock.advance(1);
  expect(tags.fresh(upstream, repositoryId, tag)).toBeUndefined();
});

test('one HEAD confirms an expired tag for all waiters', async () => {
  const { resolve, asked } = await expired();
  const resolved = await Promise.all([resolve(), resolve()]);
  expect(resolved.map(({ cache }) => cache.word)).toEqual(['revalidated', 'revalidated']);
  expect(asked).toEqual(['HEAD latest']);
  expect((await resolve()).cache.word).toBe('hit');
});

test('a moved tag has the new digest, and remembers the previous one', async () => {
  const { resolve, script, asked } = await expired();
  script.head = async () => headOf(two);
  const { record, cache } = await resolve();
  expect(record).toMatchObject({ digest: two.digest, previous: one.digest });
  expect(cache.word).toBe('miss');
  expect(asked).toEqual(['HEAD latest']);
});

test('while the upstream gives no answer the cached image is served, and the lookup is not repeated for a while', async () => {
  const { resolve, script, asked, clock } = await expired();
  script.head = () => Promise.reject(down);
  for (let pull = 0; pull < 3; pull += 1)
    expect(await resolve()).toMatchObject({
      record: { digest: one.digest },
      cache: { word: 'stale', reason: 'connect' },
    });
  expect(asked).toEqual(['HEAD latest']);
  clock.advance(30_000);
  script.head = async () => headOf(one);
  expect((await resolve()).cache.word).toBe('revalidated');
});

test.each([
  { what: 'staleFor is over', rules: { staleForMs: 0 }, cause: down },
  {
    what: 'the tag was deleted upstream, with deletedUpstream: deny',
    rules: { deletedUpstream: 'deny' as const },
    cause: gone,
  },
])('a failed lookup fails the request when $what', async ({ rules, cause }) => {
  const { resolve, script } = await expired(rules);
  script.head = () => Promise.reject(cause);
  await expect(resolve()).rejects.toBe(cause);
});

test('a tag that the upstream lacks is not looked up again at once', async () => {
  const { resolve, script, asked, clock } = started();
  script.get = () => Promise.reject(gone);
  for (let pull = 0; pull < 3; pull += 1) await expect(resolve()).rejects.toMatchObject({ code: 'MANIFEST_UNKNOWN' });
  expect(asked).toEqual(['GET latest']);
  clock.advance(defaultRules.missingMs);
  script.get = async () => one;
  expect((await resolve()).record.digest).toBe(one.digest);
});

test('a tag that was deleted loses its record', async () => {
  const { resolve, script, tagRecords } = await expired({ deletedUpstream: 'deny' });
  script.head = () => Promise.reject(gone);
  await expect(resolve()).rejects.toBe(gone);
  expect(tagRecords.remembered(repositoryId, tag)).toBeUndefined();
});

test('a lookup that is in time ends with its last client', async () => {
  const { resolve, script, upstream } = await expired();
  let aborted = false;
  upstream.headManifest = (_, __, { signal }) => {
    signal.addEventListener('abort', () => {
      aborted = true;
    });
    return script.head();
  };
  script.head = () => new Promise(() => {});
  const leaving = new AbortController();
  const resolved = resolve({ signal: leaving.signal });
  setImmediate(() => leaving.abort(new Error('the client left')));
  await expect(resolved).rejects.toThrow('the client left');
  expect(aborted).toBe(true);
});

test('when too many clients wait for the upstream, a cached image is served without a lookup', async () => {
  const { resolve, script, asked } = await expired();
  script.isCrowded = true;
  expect((await resolve()).cache.word).toBe('stale');
  expect(asked).toEqual([]);
});

test('when too many clients wait, an unknown tag gets 503', async () => {
  const { resolve, script } = started();
  script.isCrowded = true;
  await expect(resolve()).rejects.toBeInstanceOf(TooManyWaiters);
});

describe('the manifest of a moved tag', () => {
  async function moved() {
    const all = await expired();
    all.script.head = async () => headOf(two);
    const resolved = await all.resolve();
    const fetch = () =>
      all.tags.fetch({ upstream: all.upstream, repositoryId, tag }, resolved, { signal: new AbortController().signal });
    return { ...all, fetch };
  }

  test('is fetched', async () => {
    const { fetch } = await moved();
    expect(await fetch()).toMatchObject({ manifest: { digest: two.digest }, cache: { word: 'miss' } });
  });

  test('is replaced by the previous image while it cannot be fetched', async () => {
    const { fetch, script } = await moved();
    script.fetching = () => Promise.reject(down);
    expect(await fetch()).toMatchObject({ manifest: { digest: one.digest }, cache: { word: 'stale' } });
  });

  test('is replaced by the previous image when it takes too long', async () => {
    const { fetch, script } = await moved();
    script.fetching = () => new Promise(() => {});
    script.timeout = tooSlow();
    expect(await fetch()).toMatchObject({ manifest: { digest: one.digest }, cache: { word: 'stale' } });
  });

  test('is requested by tag when the upstream no longer has it by digest', async () => {
    const { fetch, script, asked } = await moved();
    const three = manifestNamed('three');
    script.fetching = () => Promise.reject(gone);
    script.get = async () => three;
    expect(await fetch()).toMatchObject({ manifest: { digest: three.digest }, cache: { word: 'miss' } });
    expect(asked).toEqual(['HEAD latest', 'GET latest']);
  });
});
