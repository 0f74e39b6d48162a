import type { RecordKey } from '../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { parseTag } from '../../src/oci/reference.ts';
import { describe, expect, test } from 'vitest';
import { never } from '../support/sqlite-index.ts';
import {
  alpine,
  debian,
  elsewhere,
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
  describe('totals', () => {
    test('count bytes, manifests and blobs, each digest once', async () => {
      const index = await subject();
      expect(await index.totals()).toMatchObject({ bytes: 0, manifests: 0, blobs: 0 });
      const layer = indexBlob(index, 'layer', { size: 5_000_000_000 });
      indexBlob(index, 'config', { size: 7 });
      indexManifest(index, 'manifest', [layer]);
      indexBlob(index, 'layer', { size: 5_000_000_000 });
      expect(await index.totals()).toMatchObject({ bytes: 5_000_000_008, manifestBytes: 1, manifests: 1, blobs: 2 });
      indexBlob(index, 'layer', { size: 5_000_000_000 });
      expect(await index.totals()).toMatchObject({ bytes: 5_000_000_008, manifests: 1, blobs: 2 });
    });

    test('count disk blocks, and a record for each link and tag', async () => {
      const index = await subject();
      const [tiny, large] = [indexBlob(index, 'tiny', { size: 1 }), indexBlob(index, 'large', { size: 8193 })];
      indexBlob(index, 'empty', { size: 0 });
      for (const times of [1, 2])
        for (const repositoryId of [alpine, debian]) index.recordLink(link(repositoryId, tiny, { size: times }));
      index.recordTag(alpine, latest, tiny);
      index.recordTag(alpine, latest, large);
      expect(await index.totals()).toMatchObject({ diskBytes: 4 * 4096, records: 3 });
      await index.forget(tiny);
      expect(await index.totals()).toMatchObject({ diskBytes: 3 * 4096, records: 1 });
      index.forgetTag(alpine, latest);
      indexBlob(index, 'large', { size: 4096 });
      expect(await index.totals()).toMatchObject({ diskBytes: 4096, records: 0 });
    });

    test('follow a corrected size, a blob that turns out to be a manifest, and removals', async () => {
      const index = await subject();
      const digest = indexBlob(index, 'thing', { size: 10 });
      await index.totals();
      indexBlob(index, 'thing', { size: 12 });
      expect(await index.totals()).toMatchObject({ bytes: 12, manifestBytes: 0, manifests: 0, blobs: 1 });
      index.recordContent({ digest, size: 12, isManifest: true, names: [], usedAtMs: 0 });
      expect(await index.totals()).toMatchObject({ bytes: 12, manifestBytes: 12, manifests: 1, blobs: 0 });
      indexBlob(index, 'thing', { size: 14 });
      expect(await index.totals()).toMatchObject({ bytes: 14, manifestBytes: 14, manifests: 1, blobs: 0 });
      indexManifest(index, 'other', []);
      indexBlob(index, 'other');
      expect(await index.totals()).toMatchObject({ bytes: 24, manifestBytes: 24, manifests: 2, blobs: 0 });
      await index.forget(named('other'));
      await index.forget(digest);
      expect(await index.totals()).toMatchObject({ bytes: 0, manifestBytes: 0, manifests: 0, blobs: 0 });
    });
  });

  describe('an eviction candidate', () => {
    test('comes least recently used first, in pages, with its size', async () => {
      const index = await subject();
      const [b, c, a] = [
        indexBlob(index, 'b', { usedAtMs: 2 }),
        indexBlob(index, 'c', { usedAtMs: 3 }),
        indexBlob(index, 'a', { usedAtMs: 1, size: 77 }),
      ];
      expect(await evictable(index)).toEqual([a, b, c]);
      expect(await index.evictable({ limit: 1 })).toEqual([
        { digest: a, size: 77, diskBytes: 4096, isManifest: false, usedAtMs: 1 },
      ]);
      expect(
        (await index.evictable({ limit: 2, after: { usedAtMs: 1, digest: a } })).map(({ digest }) => digest),
      ).toEqual([b, c]);
      expect(await index.evictable({ limit: 2, after: { usedAtMs: 3, digest: c } })).toEqual([]);
    });

    test('moves back when it is used, and never forward', async () => {
      const index = await subject();
      const [a, b] = [indexBlob(index, 'a', { usedAtMs: 10 }), indexBlob(index, 'b', { usedAtMs: 20 })];
      index.recordUse(a, 30.5);
      expect(await evictable(index)).toEqual([b, a]);
      index.recordUse(a, 5);
      index.recordUse(b, 25);
      index.recordUse(b, 5);
      indexBlob(index, 'a', { usedAtMs: 1 });
      expect(await evictable(index)).toEqual([b, a]);
      index.recordUse(named('unheard of'), 40);
      expect(await evictable(index)).toEqual([b, a]);
      expect(await index.evictable({ limit: 1 })).toMatchObject([{ usedAtMs: 25 }]);
    });

    test('is never content that a stored manifest names, in whatever order they were written', async () => {
      const index = await subject();
      const before = indexBlob(index, 'before');
      const after = named('after');
      const manifest = indexManifest(index, 'manifest', [before, after], 5000);
      expect(await evictable(index)).toEqual([manifest]);
      indexBlob(index, 'after');
      expect(await evictable(index)).toEqual([manifest]);
    });

    test('is eventually every part of an image: the index, then its manifests, then their blobs', async () => {
      const index = await subject();
      const layer = indexBlob(index, 'layer');
      const child = indexManifest(index, 'child', [layer]);
      const top = indexManifest(index, 'index', [child]);
      expect(await evictable(index)).toEqual([top]);
      await index.forget(top);
      expect(await evictable(index)).toEqual([child]);
      await index.forget(child);
      expect(await evictable(index)).toEqual([layer]);
    });

    test('is never a layer that another stored manifest still names', async () => {
      const index = await subject();
      const base = indexBlob(index, 'base', { usedAtMs: 1 });
      const cold = indexManifest(index, 'cold', [base], 2);
      const hot = indexManifest(index, 'hot', [base], 3);
      await index.forget(cold);
      expect(await evictable(index)).toEqual([hot]);
      await index.forget(hot);
      expect(await evictable(index)).toEqual([base]);
    });

    test('is never a layer of a manifest that was stored again', async () => {
      const index = await subject();
      const layers = Array.from({ length: 250 }, (_, number) => indexBlob(index, `layer ${number}`));
      const manifest = indexManifest(index, 'manifest', layers);
      expect(await evictable(index)).toEqual([manifest]);
      await index.forget(manifest);
      indexManifest(index, 'manifest', layers);
      expect(await evictable(index)).toEqual([manifest]);
      await index.forget(manifest);
      expect((await evictable(index)).toSorted()).toEqual(layers.toSorted());
    });

    test('is a layer that one manifest named twice, once that manifest is gone', async () => {
      const index = await subject();
      const layer = indexBlob(index, 'layer');
      const manifest = indexManifest(index, 'manifest', [layer, layer]);
      expect(await evictable(index)).toEqual([manifest]);
      await index.forget(manifest);
      expect(await evictable(index)).toEqual([layer]);
    });

    test('stays the same if a manifest is written again without its descriptors', async () => {
      const index = await subject();
      const layer = indexBlob(index, 'layer');
      const manifest = indexManifest(index, 'manifest', [layer]);
      indexManifest(index, 'manifest', []);
      expect(await evictable(index)).toEqual([manifest]);
      indexManifest(index, 'manifest', []);
      expect(await evictable(index)).toEqual([manifest]);
    });

    test('is never content that a repository in storage.keep links to, in whatever order they were written', async () => {
      const index = await subject({ keep: ['docker.io/library/*'] });
      const [kept, both, free] = ['kept', 'both', 'free'].map((name) => indexBlob(index, name));
      if (!kept || !both || !free) throw new Error('three blobs');
      for (const repositoryId of [elsewhere, alpine]) index.recordLink(link(repositoryId, both));
      for (const times of [1, 2]) index.recordLink(link(alpine, kept, { size: times }));
      index.recordLink(link(elsewhere, free));
      index.recordLink(link(debian, named('linked first')));
      expect(await evictable(index)).toEqual([free]);
      indexBlob(index, 'linked first', { size: 1000 });
      expect(await evictable(index)).toEqual([free]);
      expect(await index.totals()).toMatchObject({ keptBytes: 3 * 4096 });
      await index.forget(kept);
      indexBlob(index, 'kept');
      expect(await evictable(index)).toContain(kept);
      expect(await index.totals()).toMatchObject({ keptBytes: 2 * 4096 });
    });
  });

  test('names the needed records: those with stored content', async () => {
    const index = await subject();
    const stored = indexManifest(index, 'stored', []);
    const gone = named('gone');
    index.recordLink(link(alpine, stored, { kind: 'manifest' }));
    index.recordLink(link(debian, gone));
    const isNeeded = (key: RecordKey) => index.isNeeded(key);
    const other = parseTag('other');
    index.recordTag(alpine, latest, stored);
    index.recordTag(alpine, other, gone);
    expect(await isNeeded({ kind: 'tag', repositoryId: alpine, tag: latest })).toBe(true);
    expect(await isNeeded({ kind: 'tag', repositoryId: alpine, tag: other })).toBe(false);
    expect(await isNeeded({ kind: 'tag', repositoryId: debian, tag: latest })).toBe(false);
    for (const kind of ['tag-list', 'visibility'] as const) {
      expect(await isNeeded({ kind, repositoryId: alpine })).toBe(true);
      expect(await isNeeded({ kind, repositoryId: debian })).toBe(false);
    }
    expect(await isNeeded({ kind: 'referrers', repositoryId: alpine, digest: stored })).toBe(true);
    expect(await isNeeded({ kind: 'referrers', repositoryId: alpine, digest: gone })).toBe(false);
  });

  test('reflects every write that was made before the query', async () => {
    const index = await subject();
    for (let number = 0; number < 1234; number += 1) {
      index.recordLink(link(repository('docker.io', `app/${number}`), indexBlob(index, `blob ${number}`)));
    }
    expect(await index.totals()).toMatchObject({ blobs: 1234 });
    expect(await index.repositories({ last: undefined, limit: 5000 })).toHaveLength(1234);
    indexBlob(index, 'one more');
    expect(await evictable(index)).toHaveLength(1000);
    expect(await index.totals()).toMatchObject({ blobs: 1235 });
  });

  test('makes a new index of an empty store complete at once', async () => {
    const index = await subject();
    expect(await index.isComplete()).toBe(true);
    await index.whenComplete({ signal: new AbortController().signal });
    await expect(index.whenComplete({ signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone');
  });

  test('a manifest that names hundreds of blobs protects them until it is forgotten, also when it is stored again at once', async () => {
    const index = await subject();
    const layers = Array.from({ length: 400 }, (_, number) => indexBlob(index, `layer ${number}`));
    const manifest = indexManifest(index, 'manifest', layers);
    expect(await evictable(index)).toEqual([manifest]);
    await index.settled({ signal: never });
    expect(await evictable(index)).toEqual([manifest]);
    const forgetting = index.forget(manifest);
    indexManifest(index, 'manifest', layers);
    await forgetting;
    expect(await evictable(index)).toEqual([manifest]);
    await index.settled({ signal: never });
    expect(await evictable(index)).toEqual([manifest]);
    await index.forget(manifest);
    expect((await evictable(index)).toSorted()).toEqual(layers.toSorted());
  });

  test('content with a SHA-512 digest is like any other', async () => {
    const index = await subject();
    const layer = digestOf(Buffer.from('layer'), 'sha512');
    const manifest = digestOf(Buffer.from('manifest'), 'sha512');
    index.recordContent({ digest: layer, size: 10, isManifest: false, names: [], usedAtMs: 1 });
    index.recordContent({ digest: manifest, size: 1, isManifest: true, names: [layer], usedAtMs: 2 });
    index.recordLink(link(alpine, manifest, { kind: 'manifest', mediaType: ociManifest }));
    index.recordLink(link(debian, layer));
    index.recordTag(alpine, latest, manifest);
    await index.settled({ signal: never });
    expect(await index.hasContent(layer)).toBe(true);
    expect(await index.borrowableLinks(alpine, layer, 'blob')).toEqual([link(debian, layer)]);
    expect(await index.isNeeded({ kind: 'tag', repositoryId: alpine, tag: latest })).toBe(true);
    expect(await evictable(index)).toEqual([manifest]);
    expect(await index.forget(manifest)).toHaveLength(2);
    expect(await evictable(index)).toEqual([layer]);
  });
});
