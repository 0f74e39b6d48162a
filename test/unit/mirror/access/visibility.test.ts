import { expect, test } from 'vitest';
import { parseVisibilityRecord } from '../../../../src/mirror/ports/record-store.ts';
import { RememberedNotFound } from '../../../../src/mirror/concurrency/remembered.ts';
import { type KnownVisibility, visibilityDecision } from '../../../../src/mirror/access/visibility.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { gate } from '../../../support/gate.ts';
import { agoMs, day, now, repositoryId, visibilityOf } from '../../../support/scripted-visibility.ts';

const lifetimes = { publicForMs: day, hiddenForMs: 30_000, retryFailedAfterMs: 60_000 };

test.each([
  { what: 'unknown', known: undefined, decision: 'ask' },
  { what: 'public, a while ago', known: { verdict: 'public', askedAtMs: agoMs(day - 1) }, decision: 'serve' },
  { what: 'public, a day ago', known: { verdict: 'public', askedAtMs: agoMs(day) }, decision: 'serve-and-ask' },
  {
    what: 'public, a day ago, and the last check has just failed',
    known: { verdict: 'public', askedAtMs: agoMs(2 * day), failedAtMs: agoMs(59_999) },
    decision: 'serve',
  },
  {
    what: 'public, a day ago, and the last check failed a minute ago',
    known: { verdict: 'public', askedAtMs: agoMs(2 * day), failedAtMs: agoMs(60_000) },
    decision: 'serve-and-ask',
  },
  { what: 'public, in the future', known: { verdict: 'public', askedAtMs: agoMs(-1) }, decision: 'serve-and-ask' },
  { what: 'hidden, a moment ago', known: { verdict: 'hidden', askedAtMs: agoMs(29_999) }, decision: 'hide' },
  { what: 'hidden, a while ago', known: { verdict: 'hidden', askedAtMs: agoMs(30_000) }, decision: 'ask' },
  {
    what: 'hidden, a while ago, and the last check has just failed',
    known: { verdict: 'hidden', askedAtMs: agoMs(day), failedAtMs: agoMs(1) },
    decision: 'hide',
  },
] as const satisfies readonly { what: string; known: KnownVisibility | undefined; decision: string }[])(
  "the upstream's answer $what means: $decision",
  ({ known, decision }) => {
    expect(visibilityDecision('cached', known, lifetimes, now)).toBe(decision);
  },
);

const record = 'repositories/docker.io/library/app/_visibility.json';

test('the visibility of a repository is checked once, however many clients ask at the same time or later', async () => {
  const { upstream, check } = visibilityOf();
  await Promise.all(Array.from({ length: 10 }, () => check()));
  for (let pull = 0; pull < 10; pull += 1) await check();
  expect(upstream.asked).toEqual(['latest']);
});

test('a repository that is known to be public needs neither a disk access nor a promise', async () => {
  const { upstream, records, visibility, check } = visibilityOf();
  await check();
  const { reads } = records;
  const question = { upstream, repositoryId, reference: undefined };
  expect(visibility.check(question, { signal: new AbortController().signal })).toBeUndefined();
  expect(records.reads).toBe(reads);
});

test('a hidden repository is a 404, and is not checked again for a while', async () => {
  const { upstream, clock, check } = visibilityOf();
  upstream.says = 'hidden';
  await expect(check()).rejects.toMatchObject({ code: 'NAME_UNKNOWN', status: 404 });
  await expect(check()).rejects.toBeInstanceOf(RememberedNotFound);
  clock.advance(29_999);
  await expect(check()).rejects.toBeInstanceOf(RememberedNotFound);
  expect(upstream.asked).toHaveLength(1);
});

test('a hidden repository that was published is served once a 404 would be forgotten', async () => {
  const { upstream, clock, check } = visibilityOf();
  upstream.says = 'hidden';
  await expect(check()).rejects.toBeInstanceOf(OciError);
  upstream.says = 'public';
  clock.advance(30_000);
  await check();
  expect(upstream.asked).toHaveLength(2);
});

test('a repository that turned private is served until the next check, within a day, and then hidden', async () => {
  const { upstream, clock, background, check } = visibilityOf();
  await check();
  upstream.says = 'hidden';
  clock.advance(day - 1);
  await check();
  expect(upstream.asked).toHaveLength(1);
  clock.advance(1);
  await check();
  await background.idle();
  expect(upstream.asked).toHaveLength(2);
  await expect(check()).rejects.toMatchObject({ status: 404 });
});

test('no client waits while a known verdict is checked again, and it is checked once', async () => {
  const { upstream, clock, background, check } = visibilityOf();
  await check();
  clock.advance(day);
  const door = gate();
  upstream.held = door.opened;
  for (let pull = 0; pull < 10; pull += 1) await check();
  expect(upstream.asked).toHaveLength(2);
  door.open();
  await background.idle();
});

test('the old verdict applies while the upstream does not answer', async () => {
  const { upstream, clock, background, check } = visibilityOf();
  await check();
  upstream.says = undefined;
  clock.advance(40 * day);
  for (let pull = 0; pull < 10; pull += 1) {
    await check();
    await background.idle();
  }
  expect(upstream.asked).toHaveLength(2);
  clock.advance(60_000);
  await check();
  await background.idle();
  expect(upstream.asked).toHaveLength(3);
});

test('a hidden repository stays hidden while the upstream does not answer', async () => {
  const { upstream, clock, check } = visibilityOf();
  upstream.says = 'hidden';
  await expect(check()).rejects.toMatchObject({ status: 404 });
  upstream.says = undefined;
  clock.advance(day);
  await expect(check()).rejects.toMatchObject({ status: 404 });
  await expect(check()).rejects.toBeInstanceOf(RememberedNotFound);
  expect(upstream.asked).toHaveLength(2);
});

test('a repository without a verdict is unavailable, with a Retry-After', async () => {
  const { upstream, check } = visibilityOf();
  upstream.says = undefined;
  await expect(check()).rejects.toMatchObject({ reason: 'unavailable', status: 503, retryAfterSeconds: 7 });
  upstream.says = 'public';
  await check();
});

test('a check that is not answered in time counts as unanswered', async () => {
  const { upstream, check } = visibilityOf({ askWithinMs: 1 });
  upstream.held = gate().opened;
  await expect(check()).rejects.toMatchObject({ reason: 'unavailable', status: 503 });
});

test('a client that leaves does not end the check for others', async () => {
  const { upstream, check, visibility } = visibilityOf();
  const door = gate();
  upstream.held = door.opened;
  const leaving = new AbortController();
  const [left, stays] = [check(visibility, leaving.signal), check()];
  leaving.abort(new Error('gone'));
  await expect(left).rejects.toThrow('gone');
  door.open();
  await stays;
  expect(upstream.asked).toHaveLength(1);
});

test('a verdict and its changes survive a restart', async () => {
  const { upstream, clock, background, check, restarted } = visibilityOf();
  await check();
  await background.idle();
  upstream.says = undefined;
  await check(restarted());
  upstream.says = 'hidden';
  clock.advance(day);
  await check();
  await background.idle();
  upstream.says = undefined;
  await expect(check(restarted())).rejects.toMatchObject({ status: 404 });
});

test('repositories that do not exist leave no files', async () => {
  const { upstream, records, background, clock, check } = visibilityOf();
  upstream.says = 'hidden';
  for (let question = 0; question < 3; question += 1) {
    await expect(check()).rejects.toBeInstanceOf(OciError);
    clock.advance(60_000);
  }
  await background.idle();
  expect([...records.written.keys()]).toEqual([]);
  upstream.says = 'public';
  await check();
  await background.idle();
  expect([...records.written.keys()]).toEqual([record]);
});

test('only repositories that were found public are known as public, and asking for it sends no request', async () => {
  const { upstream, visibility, background, check, restarted } = visibilityOf();
  expect(await visibility.isKnownPublic(repositoryId)).toBe(false);
  expect(upstream.asked).toEqual([]);
  await check();
  await background.idle();
  expect(await visibility.isKnownPublic(repositoryId)).toBe(true);
  expect(await restarted().isKnownPublic(repositoryId)).toBe(true);
  expect(upstream.asked).toHaveLength(1);
});

test('a bug is neither a verdict nor an outage', async () => {
  const { upstream, check } = visibilityOf();
  upstream.held = Promise.reject(new TypeError('a bug'));
  await expect(check()).rejects.toThrow(TypeError);
});

test.each([
  undefined,
  null,
  {},
  { verdict: 'maybe', askedAtMs: 1 },
  { verdict: 'public' },
  { verdict: 'hidden', askedAtMs: -1 },
])('%j is not parsed as a verdict', (value) => {
  expect(parseVisibilityRecord(value)).toBeUndefined();
});

/** Another cache with a verdict. */
const saying = (verdict: 'public' | 'hidden', askedAtMs: number) => {
  let asked = 0;
  const caches = {
    visibility: async () => {
      asked += 1;
      return { verdict, askedAtMs };
    },
  };
  return { caches, asked: () => asked };
};

test('without a verdict here, and while the upstream gives no answer, the verdict of another cache counts', async () => {
  const { caches, asked } = saying('public', 0);
  const { upstream, check, checkBeforeAsking, background, records } = visibilityOf({ caches });
  upstream.says = undefined;
  await check();
  await check();
  expect(asked()).toBe(1);
  await background.idle();
  expect(records.written.get(record)).toMatchObject({ verdict: 'public', askedAtMs: 0 });
  // A request with an account of the mirror still needs the upstream's own word.
  await expect(checkBeforeAsking()).rejects.toMatchObject({ reason: 'overloaded' });
});

test('an old verdict of another cache is checked again as one of its age, as soon as the upstream may be asked again', async () => {
  const { upstream, clock, check, background } = visibilityOf(saying('public', -2 * day));
  upstream.says = undefined;
  await check();
  upstream.says = 'hidden';
  clock.advance(60_000);
  await check();
  await background.idle();
  await expect(check()).rejects.toMatchObject({ code: 'NAME_UNKNOWN' });
});

test('a repository that is hidden by the verdict of another cache is a 404', async () => {
  const { upstream, check } = visibilityOf(saying('hidden', 0));
  upstream.says = undefined;
  await expect(check()).rejects.toMatchObject({ code: 'NAME_UNKNOWN' });
});

test('what is hidden here is not made public by another cache, and what the upstream says comes first', async () => {
  const { caches, asked } = saying('public', 0);
  const { upstream, clock, check } = visibilityOf({ caches });
  upstream.says = 'hidden';
  await expect(check()).rejects.toMatchObject({ code: 'NAME_UNKNOWN' });
  clock.advance(day);
  upstream.says = undefined;
  await expect(check()).rejects.toMatchObject({ code: 'NAME_UNKNOWN' });
  expect(asked()).toBe(0);
});

test('when no cache has a verdict either, the check fails as the upstream did', async () => {
  const visibility = async () => {
    throw new UpstreamError('connect', 'refused');
  };
  const { upstream, check } = visibilityOf({ caches: { visibility } });
  upstream.says = undefined;
  await expect(check()).rejects.toMatchObject({ reason: 'unavailable', retryAfterSeconds: 7 });
});
