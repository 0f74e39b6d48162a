import { describe, expect, test } from 'vitest';
import type { ListedTag, ListFilter } from '../../src/mirror/ports/store-index.ts';
import { ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { parseTag } from '../../src/oci/reference.ts';
import { alpine, debian, everyItem, indexes, latest, link, named, pullImage, type TestedIndex } from './indexes.ts';

/** The first tag, once it is known what every manifest names. */
async function oneTag(index: TestedIndex): Promise<ListedTag | undefined> {
  await index.details(named('x'));
  return (await index.listTags(everyItem))?.items[0];
}

describe.each(indexes)('lists of an index $name', ({ subject, newPlace }) => {
  test('a tag is listed with its digest, media type, bytes, first and last pull', async () => {
    const index = await subject();
    const digest = pullImage(index, { name: 'image' });
    index.recordTag(alpine, latest, digest);
    index.recordLink(link(alpine, digest, { kind: 'manifest', size: 10 }));
    index.recordUse(digest, 5000);
    expect(await oneTag(index)).toEqual({
      repositoryId: alpine,
      tag: latest,
      digest,
      isStored: true,
      mediaType: ociManifest,
      platforms: [],
      bytes: 100,
      firstPullMs: 1000,
      lastPullMs: 5000,
    });
    await index.forget(digest);
    index.recordTag(alpine, latest, digest);
    const gone = { isStored: false, mediaType: undefined, bytes: 0, firstPullMs: 0, lastPullMs: 0 };
    expect(await oneTag(index)).toMatchObject(gone);
    index.forgetTag(alpine, latest);
    expect(await index.listTags(everyItem)).toEqual({ items: [], next: undefined });
  });

  test('an image index has the platforms and bytes of the images in it that are stored', async () => {
    const index = await subject();
    const [amd, arm, attestation] = [named('amd64'), named('arm64'), named('attestation')];
    const images = [
      { digest: amd, platform: 'linux/amd64' },
      { digest: arm, platform: 'linux/arm64/v8' },
      { digest: attestation, platform: undefined },
    ];
    index.recordTag(alpine, latest, pullImage(index, { name: 'image', images, bytes: 10 }));
    expect(await oneTag(index)).toMatchObject({ mediaType: ociIndex, platforms: [], bytes: 10 });
    pullImage(index, { name: 'amd64' });
    expect(await oneTag(index)).toMatchObject({ platforms: ['linux/amd64'], bytes: 110 });
    pullImage(index, { name: 'arm64', bytes: 300 });
    pullImage(index, { name: 'attestation', bytes: 5 });
    expect(await oneTag(index)).toMatchObject({ platforms: ['linux/amd64', 'linux/arm64/v8'], bytes: 415 });
    index.recordTag(debian, latest, amd);
    const both = await index.listTags({ ...everyItem, filter: { platform: 'linux/amd64' } });
    expect(both?.items.map(({ repositoryId }) => repositoryId)).toEqual([alpine, debian]);
    await index.forget(amd);
    expect(await oneTag(index)).toMatchObject({ platforms: ['linux/arm64/v8'], bytes: 315 });
    for (const platform of ['linux/arm64', 'linux/arm64/v8'])
      expect((await index.listTags({ ...everyItem, filter: { platform } }))?.items).toHaveLength(1);
    for (const platform of ['linux/amd64', 'linux/arm', 'linux/arm64/v', 'linux/arm64/v8/x'])
      expect((await index.listTags({ ...everyItem, filter: { platform } }))?.items).toEqual([]);
  });

  test('images that were stored before the index that names them count as well', async () => {
    const index = await subject();
    const digest = pullImage(index, { name: 'amd64', bytes: 300 });
    await index.totals();
    const images = [{ digest, platform: 'linux/amd64' }];
    index.recordTag(alpine, latest, pullImage(index, { name: 'image', images, bytes: 10 }));
    expect(await oneTag(index)).toMatchObject({ platforms: ['linux/amd64'], bytes: 310 });
  });

  test('a repository has its tags, the bytes of its links, and its last pull', async () => {
    const index = await subject();
    const images = [{ digest: named('amd64'), platform: 'linux/amd64' }];
    const digest = pullImage(index, { name: 'image', images });
    index.recordTag(alpine, latest, digest);
    index.recordLink(link(alpine, digest, { kind: 'manifest', size: 10 }));
    index.recordLink(link(alpine, named('layer'), { size: undefined }));
    index.recordLink(link(alpine, pullImage(index, { name: 'amd64' }), { kind: 'manifest', size: undefined }));
    index.recordTag(alpine, parseTag('1'), digest);
    index.recordRepositoryUse(alpine, 7000);
    const list = async (filter: ListFilter = {}) => (await index.listRepositories({ ...everyItem, filter }))?.items;
    expect(await list()).toEqual([{ repositoryId: alpine, tags: 2, bytes: 20, lastPullMs: 7000 }]);
    index.recordLink(link(alpine, named('layer'), { size: 500 }));
    index.forgetTag(alpine, latest);
    expect(await list()).toEqual([{ repositoryId: alpine, tags: 1, bytes: 520, lastPullMs: 7000 }]);
    await index.details(digest);
    expect(await list({ platform: 'linux/amd64' })).toHaveLength(1);
    expect(await list({ platform: 'linux/arm64' })).toEqual([]);
    await index.forget(named('amd64'));
    expect(await list()).toEqual([{ repositoryId: alpine, tags: 1, bytes: 510, lastPullMs: 7000 }]);
    expect(await list({ platform: 'linux/amd64' })).toEqual([]);
    await index.forget(digest);
    expect(await list()).toEqual([]);
    await index.forgetRepository(alpine);
    const again = pullImage(index, { name: 'other' });
    index.recordLink(link(alpine, again, { kind: 'manifest', size: 10 }));
    expect(await list()).toEqual([{ repositoryId: alpine, tags: 0, bytes: 10, lastPullMs: 1000 }]);
  });

  test('after a restart and a rebuild the lists are the same', async () => {
    const place = await newPlace();
    const first = await place.start();
    await first.completeRebuild({ signal: AbortSignal.timeout(10_000) });
    const record = (index: TestedIndex) => {
      const images = [{ digest: named('amd64'), platform: 'linux/amd64' }];
      const digest = pullImage(index, { name: 'image', images, bytes: 10 });
      pullImage(index, { name: 'amd64' });
      index.recordTag(alpine, latest, digest);
      index.recordLink(link(alpine, digest, { kind: 'manifest', size: 10 }));
    };
    record(first);
    await first.details(named('image'));
    const before = [await first.listTags(everyItem), await first.listRepositories(everyItem)];
    await place.kill(first);
    const second = await place.start();
    record(second);
    await second.completeRebuild({ signal: AbortSignal.timeout(10_000) });
    expect([await second.listTags(everyItem), await second.listRepositories(everyItem)]).toEqual(before);
  });
});
