import type { RecordKey } from '../../src/mirror/ports/record-store.ts';
import { parseTag } from '../../src/oci/reference.ts';
import { describe, expect, test } from 'vitest';
import {
  alpine,
  debian,
  elsewhere,
  evictable,
  indexes,
  latest,
  link,
  named,
  noteBlob,
  noteManifest,
  repository,
} from './indexes.ts';

describe.each(indexes)('an index $name', ({ subject }) => {
  describe('totals', () => {
    test('count bytes, manifests and blobs, each digest once', async () => {
      const index = await subject();
      expect(await index.totals()).toMatchObject({ bytes: 0, manifests: 0, blobs: 0 });
      const layer = noteBlob(index, 'layer', { size: 5_000_000_000 });
      noteBlob(index, 'config', { size: 7 });
      noteManifest(index, 'manifest', [layer]);
      noteBlob(index, 'layer', { size: 5_000_000_000 });
      expect(await index.totals()).toMatchObject({ bytes: 5_000_000_008, manifests: 1, blobs: 2 });
      noteBlob(index, 'layer', { size: 5_000_000_000 });
      expect(await index.totals()).toMatchObject({ bytes: 5_000_000_008, manifests: 1, blobs: 2 });
    });

    test('count disk blocks, and a record for each link and tag', async () => {
      const index = await subject();
      const [tiny, large] = [noteBlob(index, 'tiny', { size: 1 }), noteBlob(index, 'large', { size: 8193 })];
      noteBlob(index, 'empty', { size: 0 });
      for (const times of [1, 2])
        for (const repositoryId of [alpine, debian]) index.noteLink(link(repositoryId, tiny, { size: times }));
      index.noteTag(alpine, latest, tiny);
      index.noteTag(alpine, latest, large);
      expect(await index.totals()).toMatchObject({ diskBytes: 4 * 4096, records: 3 });
      await index.forget(tiny);
      expect(await index.totals()).toMatchObject({ diskBytes: 3 * 4096, records: 1 });
      index.forgetTag(alpine, latest);
      noteBlob(index, 'large', { size: 4096 });
      expect(await index.totals()).toMatchObject({ diskBytes: 4096, records: 0 });
    });

    test('follow a corrected size, a blob that turns out to be a manifest, and removals', async () => {
      const index = await subject();
      const digest = noteBlob(index, 'thing', { size: 10 });
      await index.totals();
      noteBlob(index, 'thing', { size: 12 });
      expect(await index.totals()).toMatchObject({ bytes: 12, manifests: 0, blobs: 1 });
      index.noteContent({ digest, size: 12, isManifest: true, names: [], usedAtMs: 0 });
      expect(await index.totals()).toMatchObject({ bytes: 12, manifests: 1, blobs: 0 });
      noteBlob(index, 'thing', { size: 12 });
      expect(await index.totals()).toMatchObject({ bytes: 12, manifests: 1, blobs: 0 });
      noteManifest(index, 'other', []);
      noteBlob(index, 'other');
      expect(await index.totals()).toMatchObject({ bytes: 22, manifests: 2, blobs: 0 });
      await index.forget(named('other'));
      await index.forget(digest);
      expect(await index.totals()).toMatchObject({ bytes: 0, manifests: 0, blobs: 0 });
    });
  });

  describe('an eviction candidate', () => {
    test('comes least recently used first, in pages, with its size', async () => {
      const index = await subject();
      const [b, c, a] = [
        noteBlob(index, 'b', { usedAtMs: 2 }),
        noteBlob(index, 'c', { usedAtMs: 3 }),
        noteBlob(index, 'a', { usedAtMs: 1, size: 77 }),
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
      const [a, b] = [noteBlob(index, 'a', { usedAtMs: 10 }), noteBlob(index, 'b', { usedAtMs: 20 })];
      index.noteUse(a, 30.5);
      expect(await evictable(index)).toEqual([b, a]);
      index.noteUse(a, 5);
      index.noteUse(b, 25);
      index.noteUse(b, 5);
      noteBlob(index, 'a', { usedAtMs: 1 });
      expect(await evictable(index)).toEqual([b, a]);
      index.noteUse(named('unheard of'), 40);
      expect(await evictable(index)).toEqual([b, a]);
      expect(await index.evictable({ limit: 1 })).toMatchObject([{ usedAtMs: 25 }]);
    });

    test('is never content that a stored manifest names, in whatever order they were written', async () => {
      const index = await subject();
      const before = noteBlob(index, 'before');
      const after = named('after');
      const manifest = noteManifest(index, 'manifest', [before, after], 5000);
      expect(await evictable(index)).toEqual([manifest]);
      noteBlob(index, 'after');
      expect(await evictable(index)).toEqual([manifest]);
    });

    test('is eventually every part of an image: the index, then its manifests, then their blobs', async () => {
      const index = await subject();
      const layer = noteBlob(index, 'layer');
      const child = noteManifest(index, 'child', [layer]);
      const top = noteManifest(index, 'index', [child]);
      expect(await evictable(index)).toEqual([top]);
      await index.forget(top);
      expect(await evictable(index)).toEqual([child]);
      await index.forget(child);
      expect(await evictable(index)).toEqual([layer]);
    });

    test('is never a layer that another stored manifest still names', async () => {
      const index = await subject();
      const base = noteBlob(index, 'base', { usedAtMs: 1 });
      const cold = noteManifest(index, 'cold', [base], 2);
      const hot = noteManifest(index, 'hot', [base], 3);
      await index.forget(cold);
      expect(await evictable(index)).toEqual([hot]);
      await index.forget(hot);
      expect(await evictable(index)).toEqual([base]);
    });

    test('is never a layer of a manifest that was stored again', async () => {
      const index = await subject();
      const layers = Array.from({ length: 250 }, (_, number) => noteBlob(index, `layer ${number}`));
      const manifest = noteManifest(index, 'manifest', layers);
      expect(await evictable(index)).toEqual([manifest]);
      await index.forget(manifest);
      noteManifest(index, 'manifest', layers);
      expect(await evictable(index)).toEqual([manifest]);
      await index.forget(manifest);
      expect((await evictable(index)).toSorted()).toEqual(layers.toSorted());
    });

    test('is a layer that one manifest named twice, once that manifest is gone', async () => {
      const index = await subject();
      const layer = noteBlob(index, 'layer');
      const manifest = noteManifest(index, 'manifest', [layer, layer]);
      expect(await evictable(index)).toEqual([manifest]);
      await index.forget(manifest);
      expect(await evictable(index)).toEqual([layer]);
    });

    test('stays the same if a manifest is written again without its descriptors', async () => {
      const index = await subject();
      const layer = noteBlob(index, 'layer');
      const manifest = noteManifest(index, 'manifest', [layer]);
      noteManifest(index, 'manifest', []);
      expect(await evictable(index)).toEqual([manifest]);
      noteManifest(index, 'manifest', []);
      expect(await evictable(index)).toEqual([manifest]);
    });

    test('is never content that a repository in storage.keep links to, in whatever order they were written', async () => {
      const index = await subject({ keep: ['docker.io/library/*'] });
      const [kept, both, free] = ['kept', 'both', 'free'].map((name) => noteBlob(index, name));
      if (!kept || !both || !free) throw new Error('three blobs');
      for (const repositoryId of [elsewhere, alpine]) index.noteLink(link(repositoryId, both));
      for (const times of [1, 2]) index.noteLink(link(alpine, kept, { size: times }));
      index.noteLink(link(elsewhere, free));
      index.noteLink(link(debian, named('linked first')));
      expect(await evictable(index)).toEqual([free]);
      noteBlob(index, 'linked first', { size: 1000 });
      expect(await evictable(index)).toEqual([free]);
      expect(await index.totals()).toMatchObject({ keptBytes: 3 * 4096 });
      await index.forget(kept);
      noteBlob(index, 'kept');
      expect(await evictable(index)).toContain(kept);
      expect(await index.totals()).toMatchObject({ keptBytes: 2 * 4096 });
    });
  });

  test('names the needed records: those with stored content', async () => {
    const index = await subject();
    const stored = noteManifest(index, 'stored', []);
    const gone = named('gone');
    index.noteLink(link(alpine, stored, { kind: 'manifest' }));
    index.noteLink(link(debian, gone));
    const isNeeded = (key: RecordKey) => index.isNeeded(key);
    const other = parseTag('other');
    index.noteTag(alpine, latest, stored);
    index.noteTag(alpine, other, gone);
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
      index.noteLink(link(repository('docker.io', `app/${number}`), noteBlob(index, `blob ${number}`)));
    }
    expect(await index.totals()).toMatchObject({ blobs: 1234 });
    expect(await index.repositories({ last: undefined, limit: 5000 })).toHaveLength(1234);
    noteBlob(index, 'one more');
    expect(await evictable(index)).toHaveLength(1000);
    expect(await index.totals()).toMatchObject({ blobs: 1235 });
  });

  test('makes a new index of an empty store complete at once', async () => {
    const index = await subject();
    expect(await index.isComplete()).toBe(true);
    await index.whenComplete({ signal: new AbortController().signal });
    await expect(index.whenComplete({ signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone');
  });
});
