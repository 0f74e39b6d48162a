import { expect, test } from 'vitest';
import { AnyCache } from '../../../src/cluster/any-cache.ts';
import { noOtherCaches, type OtherCache } from '../../../src/mirror/ports/other-caches.ts';
import { UpstreamError } from '../../../src/oci/errors.ts';
import { ociManifest } from '../../../src/oci/media-types.ts';
import { parseTag } from '../../../src/oci/reference.ts';
import { gate } from '../../support/gate.ts';
import { image } from '../../support/images.ts';
import { body } from '../../support/start-download.ts';
import { bytes, digest, question, replica, waiting } from './scripted-cluster.ts';

const { repositoryId } = question;
const manifest = { ...image().manifest, mediaType: ociManifest };
const tag = parseTag('latest');
const silent = new UpstreamError('timeout', 'silent');

/** Siblings by id, asked in the order of their names. */
function anyCacheOf(siblings: Readonly<Record<string, Partial<OtherCache>>>, bucket?: Partial<OtherCache>) {
  const ids = Object.keys(siblings);
  let order = 0;
  return new AnyCache({
    membership: { others: ids.map(replica) },
    siblings: {
      at: (address) => {
        const sibling = siblings[new URL(address).hostname];
        return sibling && { ...noOtherCaches, ...sibling };
      },
    },
    bucket: bucket && { ...noOtherCaches, ...bucket },
    random: () => (order += 1),
  });
}

const never = ({ signal }: { signal: AbortSignal }) =>
  new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));

test('a manifest comes from the first sibling that has it, and the requests to the others are aborted', async () => {
  const aborted: string[] = [];
  const hanging = (id: string): Partial<OtherCache> => ({
    manifest: (_, __, asking) => never(asking).finally(() => aborted.push(id)),
  });
  const cache = anyCacheOf({
    a: hanging('a'),
    b: { manifest: () => Promise.reject(silent) },
    c: { manifest: async () => manifest },
    d: hanging('d'),
  });
  expect(await cache.manifest(repositoryId, digest, waiting)).toBe(manifest);
  await new Promise(setImmediate);
  expect(aborted).toEqual(['a', 'd']);
});

test('of two siblings that have a blob, one sends it, and the body of the other is closed', async () => {
  const [one, other] = [body(bytes), body(bytes)];
  const late = gate();
  const cache = anyCacheOf({
    a: { openBlob: async () => ({ body: one, offset: 0, size: bytes.length }) },
    b: { openBlob: () => late.opened.then(() => ({ body: other, offset: 0, size: bytes.length })) },
  });
  const opened = await cache.openBlob(repositoryId, digest, waiting);
  expect(opened).toMatchObject({ body: one, origin: 'sibling' });
  late.open();
  await new Promise(setImmediate);
  expect([one.destroyed, other.destroyed]).toEqual([false, true]);
});

test('at most 8 siblings are asked at the same time', async () => {
  let [running, most] = [0, 0];
  const turns = gate();
  const counting: Partial<OtherCache> = {
    manifest: async () => {
      running += 1;
      most = Math.max(most, running);
      await turns.opened;
      running -= 1;
      return undefined;
    },
  };
  const found = anyCacheOf(Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`r${at}`, counting]))).manifest(
    repositoryId,
    digest,
    waiting,
  );
  await new Promise(setImmediate);
  turns.open();
  expect(await found).toBeUndefined();
  expect(most).toBe(8);
});

test('a tag and a verdict are the newest of those that siblings have; of two as old, hidden counts', async () => {
  const record = (confirmedAtMs: number) => ({ digest, mediaType: ociManifest, size: 1, confirmedAtMs });
  const cache = anyCacheOf({
    a: { tag: async () => record(1), visibility: async () => ({ verdict: 'public', askedAtMs: 5 }) },
    b: { tag: async () => record(3), visibility: async () => ({ verdict: 'hidden', askedAtMs: 5 }) },
    c: { tag: async () => record(2), visibility: () => Promise.reject(silent) },
  });
  expect(await cache.tag(repositoryId, tag, waiting)).toMatchObject({ confirmedAtMs: 3 });
  expect(await cache.visibility(repositoryId, waiting)).toEqual({ verdict: 'hidden', askedAtMs: 5 });
});

test('what no sibling has is looked for in the bucket', async () => {
  const cache = anyCacheOf({ a: { manifest: () => Promise.reject(silent) } }, { manifest: async () => manifest });
  expect(await cache.manifest(repositoryId, digest, waiting)).toBe(manifest);
  expect(await cache.tag(repositoryId, tag, waiting)).toBeUndefined();
});

test('a caller that leaves ends the search', async () => {
  const left = new AbortController();
  const cache = anyCacheOf({
    a: { manifest: (_, __, asking) => never(asking) },
    b: { tag: (_, __, asking) => never(asking) },
  });
  const searches = [cache.manifest(repositoryId, digest, left), cache.tag(repositoryId, tag, left)];
  left.abort(new Error('left'));
  for (const search of searches) await expect(search).rejects.toThrow('left');
});
