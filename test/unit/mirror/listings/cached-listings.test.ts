import { expect, test } from 'vitest';
import { Background } from '../../../../src/mirror/concurrency/background.ts';
import { SoftTimeout } from '../../../../src/mirror/concurrency/soft-timeout.ts';
import { UpstreamWaiters } from '../../../../src/mirror/concurrency/upstream-waiters.ts';
import { createFreshnessPolicies } from '../../../../src/mirror/tags/freshness.ts';
import { Listings } from '../../../../src/mirror/listings/listings.ts';
import type { Upstream } from '../../../../src/mirror/ports/upstream.ts';
import type { Waiting } from '../../../../src/mirror/ports/waiting.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { gate } from '../../../support/gate.ts';
import { defaultRules } from '../../../support/freshness-rules.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { upstreamNamed } from '../../../support/upstream-named.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const waiting: Waiting = { signal: new AbortController().signal };
const idOf = (name: string) => ({ upstream: 'docker.io', repository: parseRepository(name) });

interface Started extends Pick<Upstream, 'listTags'> {
  readonly listWithinMs?: number;
  readonly waitMs?: number;
}

function started({ listTags, listWithinMs = 60_000, waitMs = 2_500 }: Started) {
  const [records, clock, observer] = [new MemoryRecords(), new ManualClock(), new RecordingObserver()];
  const background = new Background({ observer });
  const policies = createFreshnessPolicies(new Map(), defaultRules);
  const softTimeout = new SoftTimeout({ clock, waitMs, slowForMs: 30_000 });
  const upstream = { ...upstreamNamed('docker.io'), listTags };
  const bounds = { memoryBytes: 10_000, listWithinMs, retryFailedAfterMs: 30_000 };
  const waiters = new UpstreamWaiters({ maxRequests: 1_000, clock, observer });
  const listings = new Listings({ records, background, waiters, clock, observer, policies, softTimeout, ...bounds });
  return {
    records,
    background,
    softTimeout,
    clock,
    list: (name: string, client: Waiting = waiting) => listings.tags(upstream, idOf(name), client),
  };
}

test('listings in memory are bounded in bytes: the least recently used are read from the disk, without an upstream request', async () => {
  const asked: string[] = [];
  const names = Array.from({ length: 40 }, (_, at) => `${at}-${'x'.repeat(60)}`);
  const { records, background, list } = started({
    listTags: async (repository) => {
      asked.push(repository);
      return names;
    },
  });
  for (const name of ['a', 'b', 'c', 'd', 'e']) await list(name);
  await background.idle();
  const { reads } = records;
  expect((await list('e')).cache.word).toBe('hit');
  expect(records.reads).toBe(reads);
  expect((await list('a')).cache.word).toBe('hit');
  expect(records.reads).toBe(reads + 1);
  expect(asked).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test('a listing is read from the disk once for all its clients, and at most two of one upstream are read at a time', async () => {
  const names = Array.from({ length: 90 }, (_, at) => `${at}-${'x'.repeat(100)}`);
  const { records, background, list } = started({ listTags: async () => names });
  const all = ['a', 'b', 'c', 'd', 'e'];
  for (const name of all) await list(name);
  await background.idle();
  const [before, door] = [records.reads, gate()];
  records.holdReads = door;
  const answers = all.flatMap((name) => Array.from({ length: 20 }, () => list(name)));
  await expect.poll(() => records.reads).toBe(before + 2);
  door.open();
  expect(new Set((await Promise.all(answers)).map(({ cache }) => cache.word))).toEqual(new Set(['hit']));
  expect(records.reads).toBeLessThanOrEqual(before + all.length);
});

test('a listing whose pages do not all arrive in time fails, and no client waits for ever', async () => {
  const { list } = started({
    listWithinMs: 1,
    listTags: (_, { signal }) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
  });
  await expect(list('a')).rejects.toMatchObject({ reason: 'timeout' });
});

test('clients that name many repositories and leave start only a few listings of one upstream', async () => {
  const door = gate();
  const asked: string[] = [];
  const { list } = started({
    listTags: async (repository) => {
      asked.push(repository);
      await door.opened;
      return ['1'];
    },
  });
  const leaving = new AbortController();
  const clients = Array.from({ length: 300 }, (_, at) => list(`app-${at}`, leaving));
  const outcomes = Promise.allSettled(clients);
  await expect(clients.at(-1)).rejects.toMatchObject({ reason: 'busy' });
  leaving.abort(new Error('gone'));
  await outcomes;
  expect(asked).toHaveLength(8);
  door.open();
});

test('a long listing does not make its upstream count as slow for tags', async () => {
  const pages = [async () => ['1'], () => new Promise<string[]>(() => {})];
  const { list, clock, softTimeout } = started({ waitMs: 200, listTags: () => pages.shift()?.() ?? Promise.reject() });
  await list('a');
  clock.advance(2 * 86_400_000);
  expect((await list('a')).cache.word).toBe('stale');
  const answered = gate();
  setTimeout(() => answered.open(), 20);
  await softTimeout.for(answered.opened, 'docker.io', waiting);
});

test('a listing whose clients have left is still fetched, and a later client causes no further request', async () => {
  const [answer, asked] = [gate(), [] as string[]];
  const { list } = started({
    listTags: async (repository) => {
      asked.push(repository);
      await answer.opened;
      return ['1'];
    },
  });
  const leaving = new AbortController();
  const left = list('a', leaving);
  await expect.poll(() => asked).toHaveLength(1);
  leaving.abort(new Error('the client left'));
  await expect(left).rejects.toThrow('the client left');
  const later = list('a');
  answer.open();
  expect((await later).listing.names).toContain('1');
  expect(asked).toEqual(['a']);
});

test('clients that come while a slow upstream has not answered yet cause no further request, and its late answer is served next', async () => {
  const late = gate();
  const pages = [async () => ['1'], () => late.opened.then(() => ['1', '2'])];
  let asked = 0;
  const { list, clock } = started({
    waitMs: 20,
    listTags: () => pages[asked++]?.() ?? Promise.reject(new Error('asked once more')),
  });
  await list('a');
  clock.advance(86_400_000);
  for (let client = 0; client < 3; client += 1) {
    expect((await list('a')).cache).toMatchObject({ word: 'stale', reason: 'timeout' });
    clock.advance(60_000); // The stale answer is remembered for less.
  }
  expect(asked).toBe(2);
  late.open();
  await expect.poll(async () => (await list('a')).listing.names).toContain('2');
  expect(asked).toBe(2);
});

test('while its upstream is slow, a listing that was lost since is an error, never empty', async () => {
  const pages = [async () => ['1'], () => new Promise<string[]>(() => {})];
  const others = async () => Array.from({ length: 90 }, (_, at) => `${at}-${'x'.repeat(100)}`);
  const { list, clock, background, records } = started({
    waitMs: 20,
    listTags: (repository) =>
      (repository === 'app/a' ? pages.shift() : others)?.() ?? Promise.reject(new Error('more')),
  });
  await list('app/a');
  await background.idle();
  clock.advance(86_400_000);
  expect((await list('app/a')).cache.word).toBe('stale');
  await list('app/b'); // Takes the memory of the first.
  await records.remove({ kind: 'tag-list', repositoryId: idOf('app/a') });
  await expect(list('app/a')).rejects.toMatchObject({ reason: 'timeout' });
});
