import { expect, test } from 'vitest';
import { noOtherCaches, type OtherCache } from '../../../../src/mirror/ports/other-caches.ts';
import { nothingShared } from '../../../../src/mirror/ports/shared-work.ts';
import { BorrowedLinks, BlobLinks } from '../../../../src/mirror/access/links.ts';
import { Blobs } from '../../../../src/mirror/blobs/blobs.ts';
import { type ServedBlob, StoredBlobs } from '../../../../src/mirror/blobs/served-blob.ts';
import { Background } from '../../../../src/mirror/concurrency/background.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { Downloads } from '../../../../src/mirror/downloads/downloads.ts';
import type { ByteRange, OpenedBlob, Upstream } from '../../../../src/mirror/ports/upstream.ts';
import { Relays } from '../../../../src/mirror/relays/relays.ts';
import { createFreshnessPolicies } from '../../../../src/mirror/tags/freshness.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { defaultRules } from '../../../support/freshness-rules.ts';
import { gate } from '../../../support/gate.ts';
import { randomBytes } from '../../../support/images.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryBlobs } from '../../../support/memory-blobs.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { body, readAll } from '../../../support/start-download.ts';
import { upstreamNamed } from '../../../support/upstream-named.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const bytes = randomBytes(300_000, 'blob');
const digest = digestOf(bytes);
const [own, other, third] = ['library/app', 'library/other', 'library/third'].map((name) => ({
  upstream: 'docker.io',
  repository: parseRepository(name),
}));
const waiting = { signal: new AbortController().signal };
const gone = new OciError('BLOB_UNKNOWN', 'no such blob');
const down = new UpstreamError('connect', 'refused');

/** Blobs over an upstream that answers what the test says. */
function started({
  hasRoom = true,
  verifyReads = false,
  caches = noOtherCaches,
}: {
  hasRoom?: boolean;
  verifyReads?: boolean;
  caches?: Pick<OtherCache, 'openBlob'>;
} = {}) {
  const [clock, observer, index, records] = [
    new ManualClock(),
    new RecordingObserver(),
    new MemoryIndex(),
    new MemoryRecords(),
  ];
  const background = new Background({ observer });
  const memory = new MemoryBudget({ maxBytes: 128 * 1024 * 1024 });
  const relaying = { memory, attemptsWithoutProgress: 0, wait: async () => {}, closeAfterMs: 60_000 };
  const borrowedLinks = new BorrowedLinks({ index, observer });
  const rest = { borrowedLinks, background, clock, makeRoom: async () => true, space: { tidy: async () => {} } };
  const links = new BlobLinks({ records, index, ...rest });
  const store = new MemoryBlobs();
  const storedBlobs = new StoredBlobs({ store, clock, observer });
  const reserve = async (wanted: number) => ({
    bytes: wanted,
    leftBytes: wanted,
    wrote: (written: number) => written,
    release: () => {},
  });
  const space = { reserve, couldHold: async () => hasRoom };
  const recording = { index, links, clock, observer, unreadable: storedBlobs, shared: nothingShared };
  const downloads = new Downloads({
    store,
    space,
    clock,
    observer,
    recording,
    relaying,
    maxConcurrent: 4,
    maxAbandoned: 1,
    maxWaiting: 4,
    pace: { minBytesPerSecond: 0, windowMs: 1_000 },
  });
  const asked: string[] = [];
  const script = {
    open: async (range: ByteRange | undefined): Promise<OpenedBlob> => ({
      body: body(bytes.subarray(range?.start ?? 0, range?.end === undefined ? undefined : range.end + 1)),
      offset: range?.start ?? 0,
      size: bytes.byteLength,
    }),
    head: async (): Promise<{ size: number | undefined }> => ({ size: bytes.byteLength }),
  };
  const upstream: Upstream = {
    ...upstreamNamed('docker.io'),
    openBlob: (repository, _, { range }) => {
      asked.push(`GET ${repository}`);
      return script.open(range);
    },
    headBlob: (repository) => {
      asked.push(`HEAD ${repository}`);
      return script.head();
    },
  };
  const waiters = {
    wait: async <Value>(_: string, work: () => Promise<Value>) => work(),
    admitBody: () => {},
    body: () => ({ isSlow: () => {}, caughtUp: () => {}, end: () => {} }),
  };
  const blobs = new Blobs({
    store,
    storedBlobs,
    links,
    downloads,
    waiters,
    index,
    clock,
    observer,
    space,
    verifyReads,
    manifests: { promisedSizes: new Map<string, number>() },
    policies: createFreshnessPolicies(new Map(), defaultRules),
    relays: new Relays(relaying),
    shared: nothingShared,
    caches,
    minBytesPerSecond: 0,
  });
  const open = (repositoryId = own) => {
    if (!repositoryId) throw new Error('no repository');
    return blobs.open({ upstream, repositoryId, digest }, waiting);
  };
  const head = (repositoryId = own) => {
    if (!repositoryId) throw new Error('no repository');
    return blobs.head({ upstream, repositoryId, digest }, waiting);
  };
  return { open, head, script, asked, store, clock, downloads, links, index, background };
}

async function bytesOf(served: Promise<ServedBlob>): Promise<Buffer> {
  const { source } = await served;
  try {
    return await readAll(source);
  } finally {
    await source[Symbol.asyncDispose]();
  }
}

/** Started, with the blob stored and linked to the repository. */
async function withStored(options: Parameters<typeof started>[0] = {}) {
  const all = started(options);
  expect((await bytesOf(all.open())).equals(bytes)).toBe(true);
  await all.downloads.stop(waiting);
  expect(all.store.blobs.has(digest)).toBe(true);
  all.asked.length = 0;
  return all;
}

test('an uncached blob is downloaded once for all clients, and stored', async () => {
  const { open, asked, store } = started();
  const served = await Promise.all([open(), open(), open()]);
  expect(served.map(({ cache }) => cache.word)).toEqual(['miss', 'collapsed', 'collapsed']);
  for (const one of served) expect((await bytesOf(Promise.resolve(one))).equals(bytes)).toBe(true);
  expect(asked).toEqual(['GET library/app']);
  await expect.poll(() => store.blobs.has(digest)).toBe(true);
});

test('a stored blob causes no upstream request', async () => {
  const { open, asked } = await withStored();
  const served = await open();
  expect(served.cache.word).toBe('hit');
  expect((await bytesOf(Promise.resolve(served))).equals(bytes)).toBe(true);
  expect(asked).toEqual([]);
});

test('a repository without a link gets stored bytes only after its upstream has confirmed them, and the answer does not show it', async () => {
  const { open, asked } = await withStored();
  const served = await open(other);
  expect(asked).toEqual(['GET library/other']);
  expect(served.cache.word).toBe('miss');
  expect((await bytesOf(Promise.resolve(served))).equals(bytes)).toBe(true);
  expect((await open(other)).cache.word).toBe('hit');
  expect(asked).toEqual(['GET library/other']);
});

test('a repository whose upstream lacks the blob gets 404, though it is stored; the 404 is remembered for a while', async () => {
  const { open, script, asked, clock } = await withStored();
  script.open = () => Promise.reject(gone);
  for (let pull = 0; pull < 2; pull += 1) await expect(open(other)).rejects.toMatchObject({ code: 'BLOB_UNKNOWN' });
  expect(asked).toEqual(['GET library/other']);
  clock.advance(defaultRules.missingMs);
  await expect(open(other)).rejects.toMatchObject({ code: 'BLOB_UNKNOWN' });
  expect(asked).toHaveLength(2);
});

test('a client of another repository does not join a running download before the upstream has confirmed its link', async () => {
  const { open, script, asked } = started();
  const rest = gate();
  script.open = async () => ({
    body: body(bytes.subarray(0, 100_000), rest.opened, bytes.subarray(100_000)),
    offset: 0,
    size: bytes.byteLength,
  });
  const first = await open();
  const second = await open(other);
  expect(asked).toEqual(['GET library/app', 'GET library/other']);
  expect(second.cache.word).toBe('miss');
  rest.open();
  for (const one of [first, second]) expect((await bytesOf(Promise.resolve(one))).equals(bytes)).toBe(true);
});

test.each([
  { what: 'no answer', cause: down },
  { what: 'a 404', cause: gone },
])('a download that cannot begin fails with the reason: $what', async ({ cause }) => {
  const { open, script } = started();
  script.open = () => Promise.reject(cause);
  await expect(open()).rejects.toMatchObject({ message: expect.any(String), constructor: cause.constructor });
});

test('a blob that the store has no room for is served and not stored, from one upstream request for all', async () => {
  const { open, asked, store } = started({ hasRoom: false });
  const served = await Promise.all([open(), open()]);
  for (const one of await Promise.all(served.map((one) => bytesOf(Promise.resolve(one)))))
    expect(one.equals(bytes)).toBe(true);
  expect(asked).toEqual(['GET library/app']);
  expect(store.blobs.size).toBe(0);
});

test('a stored blob that the disk cannot open is relayed from the upstream, and downloaded by the next request', async () => {
  const { open, asked, store, clock } = await withStored();
  store.isBroken = true;
  const served = await open();
  expect(served.ignoresRange).toBe(true);
  expect((await bytesOf(Promise.resolve(served))).equals(bytes)).toBe(true);
  expect(asked).toEqual(['GET library/app']);
  store.isBroken = false;
  clock.advance(60_000);
  expect((await open()).cache.word).toBe('hit');
});

test('with verifyReads a damaged blob is cut and quarantined', async () => {
  const { open, store } = await withStored({ verifyReads: true });
  const damaged = Buffer.from(bytes);
  damaged[5] = (damaged[5] ?? 0) ^ 1;
  store.blobs.set(digest, damaged);
  await expect(bytesOf(open())).rejects.toThrow('where sha256:');
  expect(store.quarantined).toEqual([digest]);
});

test('a HEAD downloads nothing, and has the size', async () => {
  const { head, asked, store } = started();
  expect(await head()).toMatchObject({ size: bytes.byteLength, cache: { word: 'miss' } });
  expect(asked).toEqual(['HEAD library/app']);
  expect(store.blobs.size).toBe(0);
});

test('a HEAD of a stored blob causes no upstream request', async () => {
  const { head, asked } = await withStored();
  expect(await head()).toMatchObject({ size: bytes.byteLength, cache: { word: 'hit' } });
  expect(asked).toEqual([]);
});

/** Another cache that has the blob for one repository. */
const elsewhere = (size: number | undefined = bytes.length): Pick<OtherCache, 'openBlob'> => ({
  openBlob: async ({ repository }) =>
    repository === other?.repository ? { body: body(bytes.subarray(0, 1)), offset: 0, size } : undefined,
});

test('while the upstream gives no answer, the link of another cache opens a stored blob', async () => {
  const { open, head, script, asked } = await withStored({ caches: elsewhere() });
  script.open = script.head = async () => {
    throw down;
  };
  expect((await bytesOf(open(other))).equals(bytes)).toBe(true);
  expect(await head(other)).toMatchObject({ size: bytes.length });
  expect(asked).toEqual(['GET library/other']);
  await expect(open(third)).rejects.toBe(down);
});

test('the wrong size that another cache claims does not put a good file into quarantine', async () => {
  const { open, script } = await withStored({ caches: elsewhere(7) });
  script.open = async () => {
    throw down;
  };
  expect((await bytesOf(open(other))).equals(bytes)).toBe(true);
});

test('what the upstream says it does not have is not looked for in another cache', async () => {
  const { open, script } = await withStored({ caches: elsewhere() });
  script.open = async () => {
    throw gone;
  };
  await expect(open(other)).rejects.toMatchObject({ code: 'BLOB_UNKNOWN' });
});
