import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseTag } from '../../../../src/oci/reference.ts';
import { alpine, other, waiting } from '../../storage/s3/parts.ts';
import { day, has, put, putManifest, sweeping } from './sweeping.ts';

describe('the sweep of a bucket', () => {
  test('removes the least recently used content above the bound, with its links', async () => {
    const set = await sweeping({ maxBytes: 120_000 });
    const blobs = [40, 30, 20, 10, 1].map((age) => put(set, randomBytes(30_000), age));
    await set.sweep.sweep(waiting);
    expect(blobs.map((digest) => has(set, digest))).toEqual([false, false, true, true, true]);
    expect([...set.s3.objects.keys()].filter((key) => key.includes('_blobs'))).toHaveLength(3);
    expect(set.sweep.swept).toEqual({ bytes: 90_000, objects: 3 });
  });

  test('content that was read from the bucket since is used, not old', async () => {
    const set = await sweeping({ unusedForMs: 30 * day });
    const [old, read] = [put(set, randomBytes(100), 60), put(set, randomBytes(200), 60)];
    set.s3.objects.set(set.parts.layout.used(read), Buffer.of());
    await set.sweep.sweep(waiting);
    expect([has(set, old), has(set, read)]).toEqual([false, true]);
  });

  test('an image is removed as in the local store: its manifest first, then what only it names, with its tag', async () => {
    const set = await sweeping({ unusedForMs: 30 * day });
    const [shared, single] = [put(set, randomBytes(100), 60), put(set, randomBytes(200), 60)];
    const old = putManifest(set, [shared, single], 60, 'old');
    const fresh = putManifest(set, [shared], 1, 'fresh');
    await set.sweep.sweep(waiting);
    expect([old, single, shared, fresh].map((digest) => has(set, digest))).toEqual([false, false, true, true]);
    expect([...set.s3.objects.keys()].filter((key) => key.includes('_tags'))).toEqual([
      set.parts.layout.record({ kind: 'tag', repositoryId: alpine, tag: parseTag('fresh') }),
    ]);
  });

  test('what is kept stays, whatever its age and the bound', async () => {
    const set = await sweeping({ maxBytes: 1, unusedForMs: day, keep: ['docker.io/library/**'] });
    const [kept, gone] = [put(set, randomBytes(100), 60), put(set, randomBytes(200), 60, other)];
    await set.sweep.sweep(waiting);
    expect([has(set, kept), has(set, gone)]).toEqual([true, false]);
  });

  test('parts of uploads that never ended are removed after a day, also those of replicas that died', async () => {
    const set = await sweeping();
    const upload = (startedAt: Date) => ({ key: 'v1/blobs/x', startedAt, parts: new Map() });
    set.s3.uploads.set('dead', upload(new Date(set.clock.now() - 25 * 3_600_000)));
    set.s3.uploads.set('running', upload(new Date(set.clock.now() - 3_600_000)));
    await set.sweep.sweep(waiting);
    expect([...set.s3.uploads.keys()]).toEqual(['running']);
  });

  test('objects of others in the bucket are left alone', async () => {
    const set = await sweeping({ maxBytes: 1, unusedForMs: day });
    put(set, randomBytes(100), 60);
    for (const key of ['backup.tar', 'v1/store.json', 'v1/blobs/sha256/00/not-a-digest', 'v2/blobs/x'])
      set.s3.objects.set(key, Buffer.from('x'));
    await set.sweep.sweep(waiting);
    expect([...set.s3.objects.keys()].toSorted()).toEqual(
      ['backup.tar', 'v1/blobs/sha256/00/not-a-digest', 'v1/store.json', 'v2/blobs/x'].toSorted(),
    );
  });

  test('a listing that fails removes nothing', async () => {
    const set = await sweeping({ maxBytes: 1, unusedForMs: day });
    const digest = put(set, randomBytes(100), 60);
    let lists = 0;
    set.s3.script = ({ operation }) =>
      operation === 'ListObjectsV2' && (lists += 1) > 4
        ? { kind: 'error', status: 403, code: 'AccessDenied' }
        : undefined;
    await expect(set.sweep.sweep(waiting)).rejects.toThrow('ListObjectsV2');
    expect(has(set, digest)).toBe(true);
  });

  test('manifests that are read ahead take a sixteenth of the memory budget at most, and give it back', async () => {
    const mib = 1024 * 1024;
    const set = await sweeping({ memoryBytes: 64 * mib, unusedForMs: 30 * day });
    put(set, randomBytes(100), 60);
    const { parts } = set;
    for (let at = 0; at < 40; at += 1) putManifest(set, [digestOf(Buffer.from(String(at)))], 1, `t${at}`, mib);
    let [reserved, most, count] = [0, 0, 0];
    const reserve = parts.memory.reserve.bind(parts.memory);
    parts.memory.reserve = async (bytes, options) => {
      const reservation = await reserve(bytes, options);
      most = Math.max(most, (reserved += bytes));
      count += 1;
      const release = () => {
        reserved -= bytes;
        reservation.release();
      };
      return { ...reservation, bytes, release };
    };
    await set.sweep.sweep(waiting);
    expect({ count, reserved }).toEqual({ count: 80, reserved: 0 }); // Each is larger than is expected of one.
    expect(most).toBeGreaterThan(mib);
    expect(most).toBeLessThanOrEqual(4 * mib);
    expect(parts.memory.reservedBytes).toBe(0);
  });

  test('a manifest that the bucket does not hand out, or that has wrong bytes, ends no sweep', async () => {
    const set = await sweeping({ unusedForMs: 30 * day });
    const old = put(set, randomBytes(100), 60);
    const archived = putManifest(set, [], 1, 'archived');
    const wrong = putManifest(set, [], 2, 'wrong');
    set.s3.objects.set(set.parts.layout.blob(wrong), Buffer.from('{}'));
    set.s3.script = ({ operation, key }) =>
      operation === 'GetObject' && key === set.parts.layout.blob(archived)
        ? { kind: 'error', status: 403, code: 'InvalidObjectState' }
        : undefined;
    await set.sweep.sweep(waiting);
    expect([old, archived, wrong].map((digest) => has(set, digest))).toEqual([false, true, true]);
  });

  test('a stop ends a running sweep', async () => {
    const set = await sweeping();
    set.s3.script = () => ({ kind: 'silence' });
    const stopping = new AbortController();
    const swept = set.sweep.sweep({ signal: stopping.signal });
    await expect.poll(() => set.s3.requests.length).toBe(1);
    stopping.abort(new Error('stopped'));
    await expect(swept).rejects.toThrow('stopped');
  });

  test('begins early when more was uploaded since the last one than the bound has room for', async () => {
    const waits: { readonly ms: number; readonly end: () => void }[] = [];
    const wait = (ms: number) => new Promise<void>((end) => waits.push({ ms, end }));
    const set = await sweeping({ maxBytes: 100_000, wait });
    put(set, randomBytes(60_000), 1);
    const sweeps = () => set.s3.count('ListMultipartUploads');
    const looked = async (passedMs = 30_000) => {
      set.clock.advance(passedMs);
      const { length } = waits;
      waits.at(-1)?.end();
      await expect.poll(() => waits.length).toBe(length + 1);
      return sweeps();
    };
    await set.sweep.start();
    expect(await looked()).toBe(0);
    expect(await looked(600_000)).toBe(1); // It has been idle for long.
    set.count.add(100_000 - 61_440); // As much as there is room for.
    expect(await looked()).toBe(1);
    set.count.add(1);
    expect(await looked()).toBe(2);
    expect(await looked()).toBe(2);
    const stopped = set.sweep.stop(waiting);
    waits.at(-1)?.end();
    await stopped;
  });
});

test('the view of a bucket is made of few calls: a page for each prefix, and none for links', async () => {
  const set = await sweeping({ unusedForMs: 30 * day });
  put(set, randomBytes(100), 60);
  const { s3, parts } = set;
  for (let count = 0; count < 5_000; count += 1) {
    const digest = digestOf(Buffer.from(String(count)));
    s3.objects.set(parts.layout.blob(digest), Buffer.of(1));
    s3.objects.set(parts.layout.record({ kind: 'blob', repositoryId: alpine, digest }), Buffer.from('{}'));
  }
  const startedAtMs = performance.now();
  await set.sweep.sweep(waiting);
  const perSecond = 10_000 / ((performance.now() - startedAtMs) / 1_000);
  process.stderr.write(
    `the view of a bucket: ${Math.round(perSecond)} objects a second, both servers on this machine\n`,
  );
  expect(set.sweep.swept?.objects).toBe(5_000); // The old one is gone.
  // Links of blobs are not read, and a page is a thousand keys: what it costs is few calls, whatever the machine's load.
  expect(s3.requests.length).toBeLessThan(290);
});
