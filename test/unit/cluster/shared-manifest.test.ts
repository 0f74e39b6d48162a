import { expect, test } from 'vitest';
import type { FetchedManifest } from '../../../src/mirror/ports/upstream.ts';
import { UpstreamError } from '../../../src/oci/errors.ts';
import { ociManifest } from '../../../src/oci/media-types.ts';
import { parseRepository } from '../../../src/oci/reference.ts';
import { image } from '../../support/images.ts';
import { digest, failing, heldBy, question, scriptedCluster, storedAt, waiting, whole } from './scripted-cluster.ts';

const manifest: FetchedManifest = { ...image().manifest, mediaType: ociManifest };
const holding = async () => manifest;

/** An upstream that counts. */
function upstreamOf(answer: () => Promise<FetchedManifest> = holding) {
  let asked = 0;
  const fetch = () => {
    asked += 1;
    return answer();
  };
  return { fetch, asked: () => asked };
}

test('a manifest that another replica has or fetches is read there', async () => {
  for (const claim of [storedAt('a'), heldBy('a')]) {
    const { work, join } = scriptedCluster({ claim: () => claim, manifestAt: { a: holding } });
    join('a');
    const { fetch, asked } = upstreamOf();
    expect(await work.manifest(question, fetch, waiting)).toBe(manifest);
    expect(asked()).toBe(0);
  }
});

test('when replicas have no answer the upstream is asked, under the lease', async () => {
  const { work, join, uses } = scriptedCluster({
    claim: (failed) => (failed.size === 2 ? 'mine' : storedAt(failed.has('a') ? 'b' : 'a')),
    manifestAt: { a: async () => undefined, b: () => Promise.reject(new UpstreamError('timeout', 'silent')) },
  });
  join('a', 'b');
  const { fetch, asked } = upstreamOf();
  await work.manifest(question, fetch, waiting);
  expect(asked()).toBe(1);
  expect(uses).toEqual({ open: 0, most: 1 });
});

test('what another replica fetches for another repository is fetched here by itself, and its lease is not taken over', async () => {
  const claims: unknown[] = [];
  const { work, join } = scriptedCluster({
    claim: (failed) => {
      claims.push([...failed]);
      return heldBy('a', parseRepository('library/other'));
    },
    manifestAt: { a: () => Promise.reject(new Error('asked')) },
  });
  join('a');
  const { fetch, asked } = upstreamOf();
  await work.manifest(question, fetch, waiting);
  expect(asked()).toBe(1);
  expect(claims).toEqual([[]]);
});

test('the error of the upstream is thrown, and the lease is not in use after it', async () => {
  const { work, uses } = scriptedCluster({ claim: () => 'mine' });
  const down = new UpstreamError('connect', 'refused');
  const { fetch } = upstreamOf(() => Promise.reject(down));
  await expect(work.manifest(question, fetch, waiting)).rejects.toBe(down);
  expect(uses).toEqual({ open: 0, most: 1 });
});

test('a manifest that was fetched from the upstream is uploaded, one that another replica had is not', async () => {
  for (const claim of ['mine', storedAt('a')] as const) {
    const { work, join, uploaded } = scriptedCluster({
      claim: () => claim,
      manifestAt: { a: holding },
      bucket: failing(new Error('no blob is asked for')),
      at: { b: whole },
    });
    join('a');
    await work.manifest({ ...question, digest }, upstreamOf().fetch, waiting);
    work.stored(question);
    expect(uploaded).toEqual(claim === 'mine' ? [question] : []);
  }
});
