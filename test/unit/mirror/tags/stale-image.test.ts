import { expect, test } from 'vitest';
import type { TagRecord } from '../../../../src/mirror/ports/record-store.ts';
import { newestComplete, type Presence } from '../../../../src/mirror/tags/stale-image.ts';
import type { Digest } from '../../../../src/oci/digest.ts';
import { ociIndex } from '../../../../src/oci/media-types.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { type Content, content, descriptorOf, type Image, image, multiPlatformImage } from '../../../support/images.ts';

const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
const [newer, older] = [image({ name: 'newer', layers: 2 }), image({ name: 'older' })];

/** A repository that pulled everything of some images, and has since lost some of it. */
function repositoryOf(images: readonly Image[], lost: readonly Content[] = [], neverPulled: readonly Content[] = []) {
  const manifests = new Map(
    images.flatMap(({ manifest, children }) => [manifest, ...children].map((one) => [one.digest, one])),
  );
  const isIn = (contents: readonly Content[], digest: Digest) => contents.some((one) => one.digest === digest);
  const lookups: Digest[] = [];
  return {
    lookups,
    manifests: {
      cached: async (_: unknown, digest: Digest) => {
        const found = manifests.get(digest);
        return found && !isIn(lost, digest) && !isIn(neverPulled, digest)
          ? { ...found, mediaType: ociIndex, firstServedAtMs: 0 }
          : undefined;
      },
    },
    lookup: async (_: unknown, digest: Digest): Promise<Presence> => {
      lookups.push(digest);
      if (isIn(lost, digest)) return 'lost';
      return isIn(neverPulled, digest) ? 'never-pulled' : 'stored';
    },
  };
}

function tagOf(digest: Digest, previous?: Digest): TagRecord {
  return { digest, mediaType: ociIndex, size: 1, confirmedAtMs: 0, ...(previous && { previous }) };
}

async function served(images: readonly Image[], lost: readonly Content[] = [], neverPulled: readonly Content[] = []) {
  const record = tagOf(newer.manifest.digest, older.manifest.digest);
  return (await newestComplete(repositoryId, record, repositoryOf(images, lost, neverPulled)))?.digest;
}

test('the current image of a tag is served if it is complete', async () => {
  expect(await served([newer, older])).toBe(newer.manifest.digest);
});

test('the previous image is served if the manifest of the current one is missing', async () => {
  expect(await served([older])).toBe(older.manifest.digest);
});

test.each(newer.blobs.map((blob, place) => ({ blob, place })))(
  'the previous image is served if part $place of the current one is lost',
  async ({ blob }) => {
    expect(await served([newer, older], [blob])).toBe(older.manifest.digest);
  },
);

test('parts that were never pulled do not count as lost', async () => {
  expect(await served([newer, older], [], newer.blobs)).toBe(newer.manifest.digest);
});

test('nothing is served if both images have lost a part, or if there was only one', async () => {
  expect(await served([newer, older], [...newer.blobs, ...older.blobs])).toBeUndefined();
  expect(await newestComplete(repositoryId, tagOf(newer.manifest.digest), repositoryOf([older]))).toBeUndefined();
});

test('of an image index only the pulled parts of each platform must be there', async () => {
  const multi = multiPlatformImage();
  const [amd64, arm64] = multi.children;
  const layers = multi.blobs.slice(2);
  const record = tagOf(multi.manifest.digest);
  if (!amd64 || !arm64) throw new Error('it has two platforms');
  expect(await newestComplete(repositoryId, record, repositoryOf([multi], [], [arm64, ...layers]))).toBeDefined();
  expect(await newestComplete(repositoryId, record, repositoryOf([multi], [amd64], [arm64]))).toBeUndefined();
  expect(await newestComplete(repositoryId, record, repositoryOf([multi], layers))).toBeUndefined();
});

test('nested and circular indexes are walked once', async () => {
  const deepest = image({ name: 'deepest' });
  const indexes: Content[] = [];
  for (let depth = 0, inner = descriptorOf(deepest.manifest); depth < 2_000; depth += 1) {
    const index = content(ociIndex, Buffer.from(JSON.stringify({ manifests: [inner, inner] })));
    indexes.push(index);
    inner = descriptorOf(index);
  }
  const outermost = indexes.at(-1);
  if (!outermost) throw new Error('there are two thousand');
  const repository = repositoryOf([
    { manifest: outermost, children: [...indexes, deepest.manifest], blobs: deepest.blobs },
  ]);
  expect(await newestComplete(repositoryId, tagOf(outermost.digest), repository)).toBeDefined();
  expect(repository.lookups).toHaveLength(2_000 + 2);
});
