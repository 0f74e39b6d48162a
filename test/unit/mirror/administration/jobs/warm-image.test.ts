import { expect, test } from 'vitest';
import { BlobTurns } from '../../../../../src/mirror/administration/jobs/fetch-content.ts';
import { JobProblems } from '../../../../../src/mirror/administration/jobs/job-problems.ts';
import { warmImage, type WarmImageDeps } from '../../../../../src/mirror/administration/jobs/warm-image.ts';
import { ImageReport, type WarmProblem } from '../../../../../src/mirror/administration/jobs/warm-report.ts';
import type { ServedManifest } from '../../../../../src/mirror/mirror.ts';
import type { CacheStatus } from '../../../../../src/mirror/ports/cache-status.ts';
import { digestOf } from '../../../../../src/oci/digest.ts';
import { UpstreamError } from '../../../../../src/oci/errors.ts';
import { parseImageName } from '../../../../../src/oci/image-name.ts';
import type { Descriptor } from '../../../../../src/oci/manifest.ts';
import { ociIndex, ociManifest } from '../../../../../src/oci/media-types.ts';
import { parseRepository } from '../../../../../src/oci/reference.ts';
import { upstreamNamed } from '../../../../support/upstream-named.ts';

const upstream = upstreamNamed('docker.io');
const located = { upstream, repositoryId: { upstream: 'docker.io', repository: parseRepository('library/nginx') } };
const hit: CacheStatus = { word: 'hit' };
const stale: CacheStatus = { word: 'stale', reason: 'timeout' };

function manifest(content: object, cache: CacheStatus = hit): ServedManifest {
  const bytes = Buffer.from(JSON.stringify(content));
  const mediaType = 'manifests' in content ? ociIndex : ociManifest;
  return { digest: digestOf(bytes), mediaType, size: bytes.length, bytes, cache, confirmedAtMs: 0 };
}

const described = (name: string): Descriptor => ({
  mediaType: 'application/octet-stream',
  digest: digestOf(Buffer.from(name)),
  size: 1,
});

/** A mirror that has every blob, and answers for manifests as the test says. @returns what was told, and how long was waited. */
async function warmedBy(
  mirror: Partial<WarmImageDeps['mirror']>,
  { referrers = false, slowUpstreams = new Set<string>() } = {},
) {
  const image = parseImageName('nginx:1');
  if (typeof image === 'string') throw new Error(image);
  const problems = new JobProblems<WarmProblem>();
  const report = new ImageReport('nginx:1', problems);
  const waits: number[] = [];
  const source = { read: async () => 0, [Symbol.asyncDispose]: async () => {} };
  await warmImage(
    image,
    { platforms: 'all', referrers },
    {
      mirror: {
        locate: () => located,
        manifest: async () => manifest({}),
        blob: async (_, digest) => ({ digest, size: 1, source, cache: hit, firstServedAtMs: 0, isSequential: false }),
        referrers: async () => ({ listing: [], bytes: 0, cache: hit }),
        ...mirror,
      },
      report,
      turns: new BlobTurns({ maxConcurrent: 64 }),
      areFewPullsLeft: () => false,
      isTooMuch: () => false,
      slowUpstreams,
      wait: async (ms) => waits.push(ms),
      signal: new AbortController().signal,
    },
  );
  return { told: report.told, problems, waits };
}

const reasons = ({ first }: JobProblems<WarmProblem>) => first.map(({ reason }) => reason);

test('a mirror that has no place for it is asked again, a few times', async () => {
  const busy = new UpstreamError('busy', 'too many wait', { retryAfterSeconds: 3 });
  let asked = 0;
  const twice = await warmedBy({
    manifest: async () => {
      if ((asked += 1) <= 2) throw busy;
      return manifest({});
    },
  });
  expect(twice).toMatchObject({ told: { state: 'done' }, waits: [3_000, 3_000] });
  const always = await warmedBy({
    manifest: async () => {
      throw busy;
    },
  });
  expect(always).toMatchObject({ told: { state: 'failed' }, waits: [3_000, 3_000, 3_000] });
  expect(reasons(always.problems)).toEqual(['unreachable']);
});

test('a slow upstream has time to confirm a tag; one that does not is not waited for again', async () => {
  const answers = [stale, { word: 'revalidated' } as const];
  const confirmed = await warmedBy({ manifest: async () => manifest({}, answers.shift() ?? hit) });
  expect(confirmed).toMatchObject({ told: { state: 'done' }, waits: [8_000] });
  const slowUpstreams = new Set<string>();
  const silent = { manifest: async () => manifest({}, stale) };
  const first = await warmedBy(silent, { slowUpstreams });
  expect(first.waits).toHaveLength(1);
  const next = await warmedBy(silent, { slowUpstreams });
  expect(next).toMatchObject({ told: { state: 'failed' }, waits: [] });
  expect(reasons(next.problems)).toEqual(['stale']);
});

test('an image index that lists itself in itself ends, and is told', async () => {
  let depth = 0;
  const deeper = () => manifest({ manifests: [described(`index ${(depth += 1)}`)] });
  const { told, problems } = await warmedBy({ manifest: async () => deeper() });
  expect(told).toMatchObject({ state: 'failed', present: { manifests: 4 } });
  expect(reasons(problems)).toEqual(['too-large']);
});

test('of an index of indexes with too many contents only the first are pulled, which is told once', async () => {
  let nth = 0;
  const wide = (isLast: boolean) => {
    nth += 1;
    const listed = Array.from({ length: 900 }, (_, one) => described(`${nth} ${one}`));
    return manifest(isLast ? { layers: listed } : { manifests: listed });
  };
  const { told, problems } = await warmedBy({ manifest: async (_, reference) => wide(reference !== '1') });
  expect(told.state).toBe('failed');
  expect(told.present.manifests + told.present.blobs).toBe(10_001);
  expect(reasons(problems)).toEqual(['too-large']);
});

test('of very many signatures only the first hundred are pulled, which is told', async () => {
  const listing = Array.from({ length: 150 }, (_, one) => described(`signature ${one}`));
  const { told, problems } = await warmedBy(
    { referrers: async () => ({ listing, bytes: 0, cache: hit }) },
    { referrers: true },
  );
  expect(told).toMatchObject({ state: 'failed', present: { manifests: 101 } });
  expect(reasons(problems)).toEqual(['too-large']);
});

test('a bug is no problem of the image', async () => {
  const bug = new TypeError('bug');
  const failing = warmedBy({
    manifest: async () => {
      throw bug;
    },
  });
  await expect(failing).rejects.toBe(bug);
});
