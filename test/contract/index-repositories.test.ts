import { describe, expect, test } from 'vitest';
import { parseTag } from '../../src/oci/reference.ts';
import {
  alpine,
  debian,
  elsewhere,
  indexes,
  latest,
  link,
  named,
  indexBlob,
  indexManifest,
  repository,
} from './indexes.ts';

describe.each(indexes)('an index $name', ({ subject }) => {
  describe('repositories', () => {
    test('are listed if they have cached content, in lexical order, page by page', async () => {
      const index = await subject();
      const layer = indexBlob(index, 'layer');
      const names = ['a.b/x', 'a/x', 'a/x-y', 'a/x/y', 'a:5000/x', 'b/c'];
      for (const name of names.toReversed()) {
        const [upstream = '', ...rest] = name.split('/');
        index.recordLink(link(repository(upstream, rest.join('/')), layer));
      }
      index.recordLink(link(repository('a', 'without-content'), named('not stored')));
      index.recordLink(link(repository('a', 'x'), named('not stored')));

      expect(await index.repositories({ last: undefined, limit: 100 })).toEqual(names.toSorted());
      expect(await index.repositories({ last: undefined, limit: 2 })).toEqual(names.toSorted().slice(0, 2));
      expect(await index.repositories({ last: 'a/x', limit: 2 })).toEqual(['a/x-y', 'a/x/y']);
      expect(await index.repositories({ last: 'a/x.not-there', limit: 100 })).toEqual(['a/x/y', 'a:5000/x', 'b/c']);
      expect(await index.repositories({ last: 'z', limit: 10 })).toEqual([]);
      expect(await index.repositories({ last: undefined, limit: 0 })).toEqual([]);
    });
  });

  describe('repositories with many links to what is not stored', () => {
    test('are listed if one of their links is to stored content', async () => {
      const index = await subject();
      for (let number = 0; number < 300; number += 1)
        for (const name of ['few/5', 'many', 'none']) {
          const isLinked = name !== 'few/5' || number < 5;
          if (isLinked) index.recordLink(link(repository('a', name), named(`not stored ${number}`)));
        }
      const layer = indexBlob(index, 'layer');
      for (const name of ['few/5', 'many']) index.recordLink(link(repository('a', name), layer));
      expect(await index.repositories({ last: undefined, limit: 100 })).toEqual(['a/few/5', 'a/many']);
      expect(await index.repositories({ last: 'a/few/5', limit: 1 })).toEqual(['a/many']);
    });
  });

  describe('the tags of a repository', () => {
    test('are listed in lexical order, page by page, with what they point at and whether it is stored', async () => {
      const index = await subject();
      const manifest = indexManifest(index, 'manifest', []);
      const gone = named('not stored');
      const tags = ['1', '1-rc', '1.0', '1.0.1', '10', 'A', '_x', 'a', 'latest'].map((tag) => parseTag(tag));
      for (const tag of tags.toReversed()) index.recordTag(alpine, tag, tag === '10' ? gone : manifest);
      index.recordTag(debian, parseTag('1.0.0'), manifest);
      index.recordTag(repository('docker.io', 'library/alpine/x'), parseTag('1.0.0'), manifest);

      const all = tags.map((tag) => ({ tag, digest: tag === '10' ? gone : manifest, isStored: tag !== '10' }));
      expect(await index.tags(alpine, { after: undefined, limit: 100 })).toEqual(all);
      expect(await index.tags(alpine, { after: undefined, limit: 2 })).toEqual(all.slice(0, 2));
      for (const [place, { tag }] of all.entries())
        expect(await index.tags(alpine, { after: tag, limit: 3 })).toEqual(all.slice(place + 1, place + 4));
      expect(await index.tags(alpine, { after: '1.00', limit: 1 })).toEqual([all[4]]);
      expect(await index.tags(alpine, { after: 'z', limit: 10 })).toEqual([]);
      expect(await index.tags(elsewhere, { after: undefined, limit: 10 })).toEqual([]);

      index.forgetTag(alpine, latest);
      await index.forget(manifest);
      expect(await index.tags(alpine, { after: undefined, limit: 100 })).toEqual([
        { tag: '10', digest: gone, isStored: false },
      ]);
    });

    test('are all listed if there are hundreds', async () => {
      const index = await subject();
      const manifest = indexManifest(index, 'manifest', []);
      const names = Array.from({ length: 700 }, (_, number) => `${number}`);
      for (const name of names) index.recordTag(alpine, parseTag(name), manifest);
      const listed = await index.tags(alpine, { after: undefined, limit: 600 });
      expect(listed?.map(({ tag }) => tag)).toEqual(names.toSorted().slice(0, 600));
    });
  });
});
