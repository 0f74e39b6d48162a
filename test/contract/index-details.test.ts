import { describe, expect, test } from 'vitest';
import { parseTag } from '../../src/oci/reference.ts';
import { alpine, debian, elsewhere, indexBlob, indexes, indexManifest, latest, link, named } from './indexes.ts';

describe.each(indexes)('what an index $name tells operators', ({ subject }) => {
  test('all links of a repository are listed, each digest once, page by page', async () => {
    const index = await subject();
    const blobs = Array.from({ length: 300 }, (_, number) => indexBlob(index, `blob ${number}`));
    const manifest = indexManifest(index, 'manifest', []);
    const both = named('both');
    for (const digest of [...blobs, both]) index.recordLink(link(alpine, digest));
    for (const digest of [manifest, both]) index.recordLink(link(alpine, digest, { kind: 'manifest' }));
    index.recordLink(link(debian, indexBlob(index, 'other')));
    const all = [...blobs, manifest, both].toSorted();
    expect(await index.links(alpine, { after: undefined, limit: 1000 })).toEqual(all);
    expect(await index.links(alpine, { after: undefined, limit: 280 })).toEqual(all.slice(0, 280));
    expect(await index.links(alpine, { after: all[9], limit: 3 })).toEqual(all.slice(10, 13));
    expect(await index.links(elsewhere, { after: undefined, limit: 10 })).toEqual([]);
  });

  test('the details of a digest say what refers to it, and what it names', async () => {
    const index = await subject();
    const layers = Array.from({ length: 150 }, (_, number) => indexBlob(index, `layer ${number}`));
    const manifest = indexManifest(index, 'manifest', layers, 2000);
    const parents = [indexManifest(index, 'one', [manifest]), indexManifest(index, 'two', [manifest])];
    for (const of of [alpine, debian]) index.recordLink(link(of, manifest, { kind: 'manifest' }));
    index.recordTag(alpine, latest, manifest);
    index.recordTag(debian, parseTag('1'), manifest);
    index.recordTag(debian, parseTag('2'), parents[0] ?? manifest);

    const found = await index.details(manifest);
    expect(found?.content).toEqual({ size: 1, isManifest: true, usedAtMs: 2000 });
    expect(found?.linkedBy).toEqual([alpine, debian]);
    expect(found?.tags).toHaveLength(2);
    expect(found?.tags).toContainEqual({ repositoryId: alpine, tag: latest });
    expect(found?.tags).toContainEqual({ repositoryId: debian, tag: '1' });
    expect(found?.namedBy.toSorted()).toEqual(parents.toSorted());
    expect(found?.names.toSorted()).toEqual(layers.toSorted());

    await index.forget(parents[0] ?? manifest);
    expect((await index.details(manifest))?.namedBy).toEqual([parents[1]]);
    const nothing = { content: undefined, linkedBy: [], tags: [], namedBy: [], names: [] };
    expect(await index.details(named('unknown'))).toEqual(nothing);
    const [layer = manifest] = layers;
    expect(await index.details(layer)).toMatchObject({ content: { isManifest: false }, namedBy: [manifest] });
  });
});
