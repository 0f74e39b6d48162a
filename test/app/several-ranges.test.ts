import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { blobPath } from '../../src/storage/layout.ts';
import { asking, partsIn, partsOf, type Positions } from '../support/byte-ranges.ts';
import { ask, open } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { startHolding } from '../support/held-blob.ts';
import { type Content, randomBlob } from '../support/images.ts';
import { thisSuite } from '../support/owner.ts';
import { pullBlob } from '../support/pull.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const mebibyte = 1024 * 1024;
const size = 1_000_000;
const pathOf = ({ digest }: Content) => `/v2/${repository}/blobs/${digest}`;
const spread = (count: number, step: number): Positions =>
  Array.from({ length: count }, (_, place) => [place * step, place * step + 9] as const);

async function startWith(blob: Content, config: MirrorConfig = {}, files?: ScriptedFiles) {
  const upstream = await startFakeRegistry();
  upstream.content.addBlob(repository, blob);
  const app = await startAppInMemory(mirrorOf(upstream, config), files ? { files } : {});
  return { upstream, app, path: pathOf(blob) };
}

describe('a stored blob', () => {
  const owner = thisSuite();
  const blob = randomBlob(size);
  const path = pathOf(blob);
  let upstream: FakeRegistry;
  let app: RunningApp;

  beforeAll(async () => {
    upstream = await startFakeRegistry({ owner });
    upstream.content.addBlob(repository, blob);
    app = await startAppInMemory(mirrorOf(upstream), { owner });
    await pullBlob(app, repository, blob.digest);
    await app.quiet();
    upstream.forgetRequests();
  });

  test.each([
    {
      what: 'two ranges',
      asked: [
        [0, 9],
        [500_000, 599_999],
      ],
    },
    {
      what: 'the first and the last byte',
      asked: [
        [0, 0],
        [size - 1, size - 1],
      ],
    },
    {
      what: 'two adjacent ranges',
      asked: [
        [0, 9],
        [10, 19],
      ],
    },
    {
      what: 'both halves',
      asked: [
        [0, 499_999],
        [500_000, size - 1],
      ],
    },
    { what: 'a thousand ranges', asked: spread(1_000, 1_000) },
    {
      what: 'two ranges in descending order',
      asked: [
        [700, 799],
        [5, 9],
      ],
      parts: [
        [5, 9],
        [700, 799],
      ],
    },
    {
      what: 'overlapping ranges',
      asked: [
        [0, 99],
        [50, 149],
        [500, 599],
        [520, 530],
      ],
      parts: [
        [0, 149],
        [500, 599],
      ],
    },
    {
      what: 'several of which one lies outside',
      asked: [
        [0, 9],
        [20, 29],
        [size, size + 9],
      ],
      parts: [
        [0, 9],
        [20, 29],
      ],
    },
  ] satisfies readonly { what: string; asked: Positions; parts?: Positions }[])(
    '$what are answered with exactly those bytes',
    async ({ asked, parts = asked }) => {
      const answer = await ask(app, path, asking(...asked));
      expect(answer).toMatchObject({ status: 206, cache: 'hit', headers: { 'docker-content-digest': blob.digest } });
      expect(answer.headers['content-range']).toBeUndefined();
      expect(partsIn(answer)).toEqual(partsOf(blob, parts));
    },
  );

  test('one remaining range is answered like a single range', async () => {
    const answer = await ask(app, path, asking([5, 9], [8, 20], [size, size]));
    expect(answer).toMatchObject({ status: 206, headers: { 'content-range': `bytes 5-20/${size}` } });
    expect(answer.body.equals(blob.bytes.subarray(5, 21))).toBe(true);
  });

  test('no satisfiable range is answered 416 with the size', async () => {
    const answer = await ask(app, path, asking([size, size], [size + 5, size + 9]));
    expect(answer).toMatchObject({ status: 416, headers: { 'content-range': `bytes */${size}` } });
  });

  test('podman, which asks for 1,024 ranges, is answered 400 and asks for fewer', async () => {
    const ten = 10_000_000_000; // As far into a layer as podman may come.
    for (const asked of [spread(1_001, 20), spread(1_024, 20).map(([a, b]) => [ten + a, ten + b] as const)]) {
      const answer = await ask(app, path, asking(...asked));
      expect(answer.status).toBe(400);
      expect(JSON.parse(answer.body.toString())).toMatchObject({ errors: [{ code: 'RANGES_TOO_MANY' }] });
    }
    expect((await ask(app, path, asking(...spread(512, 20)))).status).toBe(206);
  });

  test('a client with a part of other content gets the whole blob', async () => {
    const headers = { ...asking([0, 9], [20, 29]).headers, 'if-range': '"sha256:other"' };
    expect((await ask(app, path, { headers })).body.equals(blob.bytes)).toBe(true);
  });

  test('a HEAD describes the whole blob, however many ranges it has', async () => {
    for (const question of [asking([0, 9], [20, 29]), asking(...spread(1_001, 20))]) {
      const { status, headers } = await ask(app, path, { ...question, method: 'HEAD' });
      expect({ status, length: headers['content-length'] }).toEqual({ status: 200, length: String(size) });
    }
  });

  test('none of these requests reaches the upstream', () => {
    expect(upstream.count()).toBe(0);
  });
});

test('with verifyReads, the ranges are read together with everything before them', async () => {
  const blob = randomBlob(size);
  const { app, path } = await startWith(blob, { storage: { verifyReads: true } });
  await pullBlob(app, repository, blob.digest);
  await app.quiet();
  const asked: Positions = [
    [10, 19],
    [700_000, 700_009],
    [900_000, 999_999],
  ];
  expect(partsIn(await ask(app, path, asking(...asked)))).toEqual(partsOf(blob, asked));
});

test('a client that does not read uses little memory, and gets all ranges later', async () => {
  const blob = randomBlob(32 * mebibyte);
  const { app, path } = await startWith(blob);
  await pullBlob(app, repository, blob.digest);
  await app.quiet();
  const asked: Positions = Array.from({ length: 30 }, (_, place) => [place * mebibyte, place * mebibyte + 999_999]);
  const slow = await open(app, path, asking(...asked));
  slow.pause();
  expect((await app.metrics()).sum('layerwell_memory_reserved_bytes')).toBeLessThan(4 * mebibyte);
  const { headers } = slow;
  expect(partsIn({ headers, body: await slow.rest() })).toEqual(partsOf(blob, asked));
});

test('a client that leaves in the middle leaves nothing behind', async () => {
  const blob = randomBlob(32 * mebibyte);
  const { app, path } = await startWith(blob);
  await pullBlob(app, repository, blob.digest);
  await app.quiet();
  const leaving = await open(app, path, asking([0, 16 * mebibyte], [17 * mebibyte, 32 * mebibyte - 1]));
  await leaving.read(mebibyte);
  leaving.hangUp();
  await expect.poll(async () => (await app.metrics()).sum('layerwell_memory_reserved_bytes')).toBe(0);
  expect((await app.metrics()).sum('layerwell_unhandled_rejections_total')).toBe(0);
});

test('when the disk fails in the middle, the answer is cut', async () => {
  const blob = randomBlob(3 * mebibyte);
  const files = new ScriptedFiles();
  const { app, path } = await startWith(blob, {}, files);
  await pullBlob(app, repository, blob.digest);
  await app.quiet();
  const file = join(app.dataDirectory, blobPath(blob.digest));
  let reads = 0;
  files.failWith = (call) => {
    if (call.path !== file || call.operation !== 'read') return undefined;
    reads += 1;
    return reads === 2 ? 'EIO' : undefined;
  };
  const asked: Positions = [
    [0, 9],
    [mebibyte, mebibyte + 9],
  ];
  await expect(ask(app, path, asking(...asked))).rejects.toThrow('cut');
  expect(reads).toBe(2);
});

test('when the disk fails to read the first range, all ranges come from the upstream within the same answer', async () => {
  const blob = randomBlob(3 * mebibyte);
  const files = new ScriptedFiles();
  const { app, path } = await startWith(blob, {}, files);
  await pullBlob(app, repository, blob.digest);
  await app.quiet();
  files.failToReadUntilReplaced(join(app.dataDirectory, blobPath(blob.digest)));
  const asked: Positions = [
    [0, 9],
    [mebibyte, mebibyte + 9],
  ];
  expect(partsIn(await ask(app, path, asking(...asked)))).toEqual(partsOf(blob, asked));
});

test('ranges of an uncached blob come from one download of the whole blob, which is stored', async () => {
  const { upstream, app, blob, path, held } = await startHolding(size, { bytes: 500_000 });
  const asked: Positions = [
    [1_000, 1_999],
    [900_000, 999_999],
  ];
  const answer = await open(app, path, asking(...asked));
  expect(answer.status).toBe(206);
  await answer.read(1_000);
  expect((await open(app, path, asking(...asked))).status).toBe(206);
  held.open();
  await answer.rest();
  await app.quiet();
  const again = await ask(app, path, asking(...asked));
  expect(again.cache).toBe('hit');
  expect(partsIn(again)).toEqual(partsOf(blob, asked));
  expect(upstream.requests.map(({ headers }) => headers.range)).toEqual([undefined]);
});

test('too many ranges of an uncached blob start no download', async () => {
  const blob = randomBlob(size);
  const { upstream, app, path } = await startWith(blob);
  expect((await ask(app, path, asking(...spread(1_001, 20)))).status).toBe(400);
  expect(upstream.count()).toBe(0);
});
