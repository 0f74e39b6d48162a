import { describe, expect, test } from 'vitest';
import type { RecordKey } from '../../src/mirror/ports/record-store.ts';
import type { Index } from '../../src/mirror/ports/store-index.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { parseTag } from '../../src/oci/reference.ts';
import {
  alpine,
  debian,
  evictable,
  indexes,
  latest,
  link,
  named,
  indexBlob,
  indexManifest,
  repository,
} from './indexes.ts';

describe.each(indexes)('an index $name', ({ subject }) => {
  describe('forgetting a digest', () => {
    test('returns every record that names it, and no other', async () => {
      const index = await subject();
      const [gone, kept] = [indexManifest(index, 'gone', []), indexManifest(index, 'kept', [])];
      for (const digest of [gone, kept])
        index.recordLink(link(alpine, digest, { kind: 'manifest', mediaType: ociManifest }));
      index.recordLink(link(debian, gone));
      index.recordTag(alpine, latest, gone);
      index.recordTag(debian, latest, kept);
      const expected: readonly RecordKey[] = [
        { kind: 'manifest', repositoryId: alpine, digest: gone },
        { kind: 'blob', repositoryId: debian, digest: gone },
        { kind: 'tag', repositoryId: alpine, tag: latest },
      ];
      const keys = await index.forget(gone);
      expect(keys).toHaveLength(3);
      expect(keys).toEqual(expect.arrayContaining([...expected]));
      expect(await index.forget(gone)).toEqual([]);
      expect(await evictable(index)).toEqual([kept]);
    });

    test('returns buffered and written records, once each', async () => {
      const index = await subject();
      const digest = indexManifest(index, 'manifest', []);
      const note = (): void => {
        index.recordLink(link(alpine, digest));
        index.recordTag(alpine, latest, digest);
      };
      note();
      await index.totals();
      note();
      expect(await index.forget(digest)).toHaveLength(2);
      expect(await index.totals()).toMatchObject({ bytes: 0, manifests: 0, blobs: 0 });
      expect(await index.repositories({ last: undefined, limit: 10 })).toEqual([]);
    });

    test('keeps a tag that has moved on since', async () => {
      const index = await subject();
      const [old, young] = [indexManifest(index, 'old', []), indexManifest(index, 'young', [])];
      index.recordTag(alpine, latest, old);
      await index.totals();
      index.recordTag(alpine, latest, young);
      expect(await index.forget(old)).toEqual([]);
      expect(await index.forget(young)).toEqual([{ kind: 'tag', repositoryId: alpine, tag: latest }]);
    });

    test('does not return a tag whose record is gone', async () => {
      const index = await subject();
      const digest = indexManifest(index, 'manifest', []);
      index.recordTag(alpine, latest, digest);
      await index.totals();
      index.recordTag(debian, latest, digest);
      index.forgetTag(debian, latest);
      index.forgetTag(alpine, latest);
      expect(await index.forget(digest)).toEqual([]);
    });

    test('affects nothing that is written afterwards', async () => {
      const index = await subject();
      indexBlob(index, 'blob');
      const forgetting = index.forget(named('blob'));
      indexBlob(index, 'blob', { size: 3 });
      await forgetting;
      expect(await index.totals()).toMatchObject({ bytes: 3, manifests: 0, blobs: 1 });
    });
  });

  describe('the least recently used repository', () => {
    test('is the one that was not pulled from for longest, even if others use its content', async () => {
      const index = await subject();
      const layer = indexBlob(index, 'layer', { usedAtMs: 1_000 });
      index.recordLink(link(alpine, layer));
      await index.totals();
      index.recordUse(layer, 2_000);
      index.recordLink(link(debian, layer));
      expect(await index.stalestRepository()).toEqual({ repositoryId: alpine, usedAtMs: 1_000 });
      index.recordRepositoryUse(alpine, 3_000);
      index.recordRepositoryUse(alpine, 500);
      index.recordRepositoryUse(repository('docker.io', 'not/linked'), 1);
      expect(await index.stalestRepository()).toEqual({ repositoryId: debian, usedAtMs: 2_000 });
      expect(await index.stalestRepository(1)).toEqual({ repositoryId: alpine, usedAtMs: 3_000 });
      expect(await index.stalestRepository(2)).toBeUndefined();
    });

    test('is used when it was pulled through, not when others used its content before its link was written', async () => {
      const index = await subject();
      const layer = indexBlob(index, 'layer', { usedAtMs: 1_000 });
      index.recordLink(link(alpine, layer));
      index.recordRepositoryUse(alpine, 4_000);
      index.recordUse(layer, 4_000);
      await index.totals();
      for (const usedAtMs of [2_000, 1_500]) {
        index.recordLink(link(debian, layer, { usedAtMs }));
        expect(await index.stalestRepository()).toEqual({ repositoryId: debian, usedAtMs: 2_000 });
      }
      index.recordLink(link(debian, layer, { usedAtMs: 5_000 }));
      expect(await index.stalestRepository()).toEqual({ repositoryId: alpine, usedAtMs: 4_000 });
      expect(await index.stalestRepository(1)).toEqual({ repositoryId: debian, usedAtMs: 5_000 });
    });

    test('is never one without links', async () => {
      const index = await subject();
      expect(await index.stalestRepository()).toBeUndefined();
      index.recordLink(link(alpine, indexBlob(index, 'layer')));
      await index.totals();
      await index.forget(named('layer'));
      expect(await index.stalestRepository()).toBeUndefined();
    });

    test('is never one in storage.keep', async () => {
      const index = await subject({ keep: ['docker.io/library/alpine'] });
      const layer = indexBlob(index, 'layer');
      index.recordLink(link(alpine, layer));
      index.recordLink(link(debian, layer));
      expect(await index.stalestRepository()).toMatchObject({ repositoryId: debian });
      await index.forgetRepository(debian);
      expect(await index.stalestRepository()).toBeUndefined();
    });

    test('is forgotten with its links and tags, however many, and its content stays', async () => {
      const index = await subject();
      const layers = Array.from({ length: 1_200 }, (_, number) => indexBlob(index, `layer ${number}`));
      for (const digest of layers) index.recordLink(link(alpine, digest));
      index.recordTag(alpine, latest, named('layer 1'));
      await index.totals();
      index.recordLink(link(debian, named('layer 1')));
      index.recordLink(link(alpine, named('late')));
      const keys = await index.forgetRepository(alpine);
      expect(keys).toHaveLength(1_202);
      expect(keys).toContainEqual({ kind: 'tag', repositoryId: alpine, tag: latest });
      expect(keys.every(({ repositoryId }) => repositoryId.repository === alpine.repository)).toBe(true);
      expect(await index.totals()).toMatchObject({ blobs: 1_200, records: 1 });
      expect(await index.forgetRepository(alpine)).toEqual([]);
    });
  });

  describe('a record is needed', () => {
    test('of a tag or of referrers, while its repository has a link to stored content', async () => {
      const index = await subject();
      const digest = indexManifest(index, 'manifest', []);
      index.recordLink(link(alpine, digest, { kind: 'manifest', mediaType: ociManifest }));
      for (const repositoryId of [alpine, debian]) index.recordTag(repositoryId, latest, digest);
      expect(await index.isNeeded({ kind: 'tag', repositoryId: alpine, tag: latest })).toBe(true);
      expect(await index.isNeeded({ kind: 'tag', repositoryId: debian, tag: latest })).toBe(false);
      expect(await index.isNeeded({ kind: 'referrers', repositoryId: alpine, digest })).toBe(true);
      expect(await index.isNeeded({ kind: 'referrers', repositoryId: debian, digest })).toBe(false);
    });

    test('of a tag, unless dozens of others point at the same manifest', async () => {
      const index = await subject();
      const digest = indexManifest(index, 'manifest', []);
      index.recordLink(link(alpine, digest, { kind: 'manifest', mediaType: ociManifest }));
      for (let number = 0; number < 65; number += 1) index.recordTag(alpine, parseTag(`v${number}`), digest);
      const isNeeded = () => index.isNeeded({ kind: 'tag', repositoryId: alpine, tag: parseTag('v1') });
      expect(await isNeeded()).toBe(false);
      index.forgetTag(alpine, parseTag('v2'));
      expect(await isNeeded()).toBe(true);
    });
  });

  test('content is found by its digest until it is forgotten', async () => {
    const index = await subject();
    const blob = named('blob');
    expect(await index.hasContent(blob)).toBe(false);
    index.recordContent({ digest: blob, size: 1, isManifest: false, names: [], usedAtMs: 1 });
    expect(await index.hasContent(blob)).toBe(true);
    await index.forget(blob);
    expect(await index.hasContent(blob)).toBe(false);
  });

  describe('a link that may be borrowed', () => {
    /** A manifest of alpine names a layer that debian, of the same upstream, is linked to. */
    function noteSharedLayer(index: Index): Digest {
      const layer = named('layer');
      const manifest = indexManifest(index, 'manifest', [layer]);
      index.recordLink(link(alpine, manifest, { kind: 'manifest', mediaType: ociManifest }));
      index.recordLink(link(debian, layer, { size: 99 }));
      return layer;
    }

    test('comes from another repository of the upstream, if a manifest of this one names the digest', async () => {
      const index = await subject();
      const layer = noteSharedLayer(index);
      expect(await index.borrowableLinks(alpine, layer, 'blob')).toEqual([link(debian, layer, { size: 99 })]);
    });

    test('does not exist for a repository whose manifests do not name the digest', async () => {
      const index = await subject();
      const layer = noteSharedLayer(index);
      expect(await index.borrowableLinks(debian, layer, 'blob')).toEqual([]);
      expect(await index.borrowableLinks(repository('docker.io', 'library/alpin'), layer, 'blob')).toEqual([]);
    });

    test.each(['ghcr.io', 'docker.i', 'docker.io.test', 'docker', 'docker.io0'])(
      'never comes from the upstream %s',
      async (upstream) => {
        const index = await subject();
        const layer = named('layer');
        index.recordLink(link(alpine, indexManifest(index, 'manifest', [layer]), { kind: 'manifest' }));
        index.recordLink(link(repository(upstream, 'library/alpine'), layer));
        expect(await index.borrowableLinks(alpine, layer, 'blob')).toEqual([]);
      },
    );

    test('does not exist if the manifest is linked as a blob, or not stored', async () => {
      const index = await subject();
      const layer = named('layer');
      const manifest = indexManifest(index, 'manifest', [layer]);
      index.recordLink(link(debian, layer));
      index.recordLink(link(alpine, manifest));
      expect(await index.borrowableLinks(alpine, layer, 'blob')).toEqual([]);
      index.recordLink(link(alpine, manifest, { kind: 'manifest' }));
      expect(await index.borrowableLinks(alpine, layer, 'blob')).toHaveLength(1);
      await index.forget(manifest);
      index.recordLink(link(alpine, manifest, { kind: 'manifest' }));
      expect(await index.borrowableLinks(alpine, layer, 'blob')).toEqual([]);
    });

    test('does not exist for a digest without any link', async () => {
      const index = await subject();
      const layer = noteSharedLayer(index);
      await index.forget(layer);
      expect(await index.borrowableLinks(alpine, layer, 'blob')).toEqual([]);
    });

    test('has the media type of a child manifest', async () => {
      const index = await subject();
      const child = indexManifest(index, 'child', []);
      const top = indexManifest(index, 'index', [child]);
      index.recordLink(link(alpine, top, { kind: 'manifest', mediaType: ociIndex }));
      index.recordLink(link(debian, child));
      index.recordLink(link(debian, child, { kind: 'manifest', mediaType: ociManifest, size: 5 }));
      index.recordLink(link(debian, child, { kind: 'manifest', size: undefined }));
      await index.totals();
      index.recordLink(link(debian, child, { kind: 'manifest', size: undefined }));
      expect(await index.borrowableLinks(alpine, child, 'manifest')).toEqual([
        link(debian, child, { kind: 'manifest', mediaType: ociManifest, size: 5 }),
      ]);
    });

    test('is one of a few if many repositories hold the digest', async () => {
      const index = await subject();
      const layer = noteSharedLayer(index);
      for (let number = 0; number < 300; number += 1)
        index.recordLink(link(repository('docker.io', `app/${number}`), layer));
      const links = await index.borrowableLinks(alpine, layer, 'blob');
      expect(links.length).toBeGreaterThan(1);
      expect(links.length).toBeLessThanOrEqual(16);
    });

    test('is found even if hundreds of manifests of other repositories name the digest', async () => {
      const index = await subject();
      const layer = noteSharedLayer(index);
      for (let number = 0; number < 300; number += 1) {
        const manifest = indexManifest(index, `manifest ${number}`, [layer]);
        index.recordLink(link(repository('docker.io', `app/${number}`), manifest, { kind: 'manifest' }));
      }
      expect(await index.borrowableLinks(alpine, layer, 'blob')).toHaveLength(1);
      expect(await index.borrowableLinks(debian, layer, 'blob')).toEqual([]);
    });
  });
});
