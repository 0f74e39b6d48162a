import { expect, test } from 'vitest';
import { type OtherCache } from '../../../../src/mirror/ports/other-caches.ts';
import { defaultRules } from '../../../support/freshness-rules.ts';
import { gate } from '../../../support/gate.ts';
import { body } from '../../../support/start-download.ts';

import { bytes, bytesOf, digest, down, gone, other, started, third, withStored } from './start-blobs.ts';

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
