import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { waiting } from '../../storage/s3/parts.ts';
import { day, has, put, putManifest, sweeping } from './sweeping.ts';

/** A page of a listing that says that more follow. */
function page(keys: readonly string[], next: string): string {
  const contents = keys.map(
    (key) =>
      `<Contents><Key>${key}</Key><Size>1</Size><LastModified>2020-01-01T00:00:00.000Z</LastModified></Contents>`,
  );
  return `<?xml version="1.0"?><ListBucketResult>${contents.join('')}<IsTruncated>true</IsTruncated><NextContinuationToken>${next}</NextContinuationToken></ListBucketResult>`;
}

describe('a bucket that lists without an end', () => {
  test.each([
    ['the same page again and again', () => 'same', () => ['v1/blobs/sha256/aa/x']],
    ['a few pages in turn', (at: number) => String(at), (at: number) => [`v1/blobs/sha256/aa/${at % 7}`]],
    ['empty pages', (at: number) => String(at), () => []],
  ])('fails the sweep, and nothing is removed: %s', async (_what, tokenOf, keysOf) => {
    const set = await sweeping({ maxBytes: 1, unusedForMs: day });
    const digest = put(set, randomBytes(100), 60);
    let pages = 0;
    set.s3.listing = () => page(keysOf((pages += 1)), tokenOf(pages));
    await expect(set.sweep.sweep(waiting)).rejects.toThrow('lists without an end');
    expect(has(set, digest)).toBe(true);
    expect(set.s3.count('DeleteObject')).toBe(0);
    expect(set.sweep.swept).toBeUndefined();
  });
});

describe('a bucket that throttles a sweep', () => {
  test('a few times: the sweep goes on', async () => {
    const set = await sweeping({ unusedForMs: 30 * day });
    const old = put(set, randomBytes(100), 60);
    const fresh = putManifest(set, [put(set, randomBytes(200), 60)], 1, 'fresh');
    let calls = 0;
    set.s3.script = () => ((calls += 1) % 3 === 0 ? { kind: 'error', status: 503, code: 'SlowDown' } : undefined);
    await set.sweep.sweep(waiting);
    expect([has(set, old), has(set, fresh)]).toEqual([false, true]);
  });

  test('while manifests are read: nothing is removed, since what they name is not known', async () => {
    const set = await sweeping({ unusedForMs: 30 * day });
    const layer = put(set, randomBytes(100), 60);
    putManifest(set, [layer], 1, 'fresh');
    set.s3.script = ({ operation }) =>
      operation === 'GetObject' ? { kind: 'error', status: 503, code: 'SlowDown' } : undefined;
    await expect(set.sweep.sweep(waiting)).rejects.toThrow('GetObject');
    expect(has(set, layer)).toBe(true);
    expect(set.s3.count('DeleteObject')).toBe(0);
    set.s3.script = () => undefined;
    set.clock.advance(60_000);
    await set.sweep.sweep(waiting);
    expect(has(set, layer)).toBe(true);
  });

  test('while it removes: what it could not remove is removed by the next sweep, with its records', async () => {
    const set = await sweeping({ unusedForMs: 30 * day });
    const old = [put(set, randomBytes(100), 60), putManifest(set, [], 60, 'old')];
    set.s3.script = ({ operation }) =>
      operation === 'DeleteObject' ? { kind: 'error', status: 503, code: 'SlowDown' } : undefined;
    await set.sweep.sweep(waiting);
    expect(old.map((digest) => has(set, digest))).toEqual([true, true]);
    set.s3.script = () => undefined;
    set.clock.advance(60_000);
    await set.sweep.sweep(waiting);
    expect([...set.s3.objects.keys()]).toEqual([]);
  });
});
