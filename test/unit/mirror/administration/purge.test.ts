import { expect, test } from 'vitest';
import { isFree, nothingBefore } from '../../../../src/mirror/administration/purge-removal.ts';
import { RecordsLeft } from '../../../../src/mirror/eviction/removal.ts';
import { Purge, type PurgeDeps } from '../../../../src/mirror/administration/purge.ts';
import { type ContentDetails, mostDetails } from '../../../../src/mirror/ports/store-index.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { parseRepository, parseTag, type Tag } from '../../../../src/oci/reference.ts';
import { gate } from '../../../support/gate.ts';

const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/nginx') };
const other = { upstream: 'docker.io', repository: parseRepository('library/other') };
const named = (name: string): Digest => digestOf(Buffer.from(name));
const waiting = { signal: new AbortController().signal };
const tag = parseTag('1');

function details(more: Partial<ContentDetails> = {}): ContentDetails {
  const content = { size: 10, isManifest: false, usedAtMs: 0 };
  return { content, linkedBy: [repositoryId], tags: [], namedBy: [], names: [], ...more };
}

/** A purge of a repository whose tag `1` points at `manifest`, which names `layer`. */
function purgeOf(deps: Partial<PurgeDeps['index']> & Partial<Pick<PurgeDeps, 'most' | 'records' | 'tagRecords'>> = {}) {
  const { most, records = { listOf: async function* () {} }, tagRecords, ...more } = deps;
  const [manifest, layer] = [named('manifest'), named('layer')];
  const known = new Map([
    [manifest, details({ names: [layer], tags: [{ repositoryId, tag }] })],
    [layer, details({ namedBy: [manifest] })],
  ]);
  const gone: Digest[] = [];
  const forgotten: Tag[] = [];
  const refused = new Set<Digest>();
  let refusedRecords = 0;
  const index: PurgeDeps['index'] = {
    isComplete: async () => true,
    repositories: async () => [],
    isNeeded: async () => true,
    tags: async (_, { after }) => (after === undefined ? [{ tag, digest: manifest, isStored: true }] : []),
    links: async (_, { after }) => (after === undefined ? [layer, manifest] : []),
    details: async (digest) => known.get(digest) ?? details({ content: undefined }),
    recordLink: () => {},
    recordTag: () => {},
    ...more,
  };
  const record = { digest: manifest, mediaType: ociManifest, size: 1, confirmedAtMs: 0 };
  const purge = new Purge({
    index,
    background: { settled: async () => {} },
    records,
    tagRecords: tagRecords ?? { get: async (_, one) => (forgotten.includes(one) ? undefined : record) },
    observer: { internalError: () => {} },
    space: {
      purge: async ({ digest }, decide) => {
        const decided = await decide();
        if (decided !== 'free') return decided;
        if (refused.has(digest)) return 'left';
        gone.push(digest);
        known.delete(digest);
        if (digest === manifest) known.set(layer, details());
        return 'removed';
      },
      purgeRecords: async (keys) => {
        for (const key of keys) if (key.kind === 'tag') forgotten.push(key.tag);
        known.set(manifest, details({ names: [layer] }));
        if (refusedRecords > 0 && keys.length > 0) {
          refusedRecords -= 1;
          throw new RecordsLeft(keys, new Error('EROFS'));
        }
      },
      purgeRepository: async () => true,
    },
    ...(most !== undefined && { most }),
  });
  const refuseRecords = (times: number) => {
    refusedRecords = times;
  };
  return { purge, known, gone, forgotten, manifest, layer, refused, refuseRecords };
}

test('a manifest goes before what it names', async () => {
  const { purge, gone, forgotten, manifest, layer } = purgeOf();
  expect(await purge.plan({ kind: 'tag', repositoryId, tag }, waiting)).toMatchObject({ kept: 0 });
  expect({ gone, forgotten }).toEqual({ gone: [], forgotten: [] });
  await purge.run({ kind: 'tag', repositoryId, tag }, waiting);
  expect({ gone, forgotten }).toEqual({ gone: [manifest, layer], forgotten: [tag] });
});

test('what was pulled again between the plan and its turn stays, with what it names', async () => {
  const [manifest, layer] = [named('manifest'), named('layer')];
  // Its tag is there again, whatever was forgotten.
  const tagged = details({ names: [layer], tags: [{ repositoryId, tag }] });
  const { purge, gone } = purgeOf({
    details: async (digest) => (digest === manifest ? tagged : details({ namedBy: [manifest] })),
  });
  expect(await purge.run({ kind: 'tag', repositoryId, tag }, waiting)).toMatchObject({ contents: [], kept: 2 });
  expect(gone).toEqual([]);
});

test('nothing is purged while the index cannot tell what is needed', async () => {
  const target = { kind: 'repository', repositoryId } as const;
  for (const deps of [
    { isComplete: async () => false },
    { tags: async () => undefined },
    { links: async () => undefined },
    { details: async () => undefined },
  ]) {
    const { purge, gone, forgotten } = purgeOf(deps);
    expect(await purge.run(target, waiting)).toBe('unreadable');
    expect({ gone, forgotten }).toEqual({ gone: [], forgotten: [] });
  }
});

test('a repository with more than a purge holds in memory is refused', async () => {
  const target = { kind: 'repository', repositoryId } as const;
  expect(await purgeOf({ most: 1 }).purge.run(target, waiting)).toBe('too-many');
  expect(await purgeOf({ most: 2 }).purge.run(target, waiting)).toMatchObject({ kept: 2 });
});

test('a purge whose client leaves before anything is removed removes nothing', async () => {
  const { purge, gone } = purgeOf();
  const leaving = AbortSignal.abort(new Error('left'));
  await expect(purge.run({ kind: 'tag', repositoryId, tag }, { signal: leaving })).rejects.toThrow('left');
  expect(gone).toEqual([]);
});

test('what the disk does not remove is told as left, not as kept; the next purge of the tag removes it, and then the tag is unknown', async () => {
  const { purge, gone, manifest, layer, refused } = purgeOf();
  const target = { kind: 'tag', repositoryId, tag } as const;
  refused.add(manifest);
  expect(await purge.run(target, waiting)).toMatchObject({
    tags: [tag],
    contents: [],
    kept: 0,
    left: { tags: [], contents: [manifest, layer] },
  });
  refused.clear();
  refused.add(layer);
  expect(await purge.run(target, waiting)).toMatchObject({ tags: [], kept: 0, left: { contents: [layer] } });
  expect(gone).toEqual([manifest]);
  refused.clear();
  expect(await purge.run(target, waiting)).toMatchObject({ contents: [{ digest: layer }], kept: 0 });
  expect(await purge.run(target, waiting)).toBe('unknown');
});

test('a tag whose record the disk does not remove is told as left, and goes with the next purge', async () => {
  const { purge, gone, manifest, layer, refuseRecords } = purgeOf();
  const target = { kind: 'tag', repositoryId, tag } as const;
  refuseRecords(2); // Once more when something is gone: there may be room then.
  expect(await purge.run(target, waiting)).toMatchObject({ tags: [], left: { tags: [tag], contents: [] } });
  expect(gone).toEqual([manifest, layer]);
  expect(await purge.plan(target, waiting)).toMatchObject({ tags: [tag] });
  expect(await purge.run(target, waiting)).toMatchObject({ tags: [tag], contents: [] });
  expect(await purge.run(target, waiting)).toBe('unknown');
});

test('what the index cannot tell of in the middle of a purge is left', async () => {
  const free = details({ linkedBy: [] });
  let answers = 2;
  const { purge, manifest, layer } = purgeOf({ details: async () => (answers-- > 0 ? free : undefined) });
  const found = await purge.run({ kind: 'repository', repositoryId }, waiting);
  expect(found).toMatchObject({ contents: [], kept: 0, left: { contents: [manifest, layer] } });
});

test('a purge that waits for a disk that hangs ends with its signal, and the next one begins', async () => {
  const [listing, hanging] = [gate(), gate()];
  const listOf: PurgeDeps['records']['listOf'] = async function* (repository) {
    if (repository !== other) return;
    listing.open();
    await hanging.opened;
    yield { kind: 'manifest', repositoryId: other, digest: named('unindexed') };
  };
  const { purge, manifest, layer } = purgeOf({ records: { listOf } });
  const leaving = new AbortController();
  const first = purge.run({ kind: 'repository', repositoryId: other }, leaving);
  const next = purge.plan({ kind: 'repository', repositoryId }, waiting);
  await listing.opened;
  leaving.abort(new Error('left'));
  await expect(first).rejects.toThrow('left');
  expect(await next).toMatchObject({ contents: [{ digest: manifest }, { digest: layer }] });
  hanging.open();
});

test('a purge of some tags reads no record of the others', async () => {
  const read: Tag[] = [];
  const tags = ['1', '2', '3'].map((one) => parseTag(one));
  const { purge } = purgeOf({
    records: {
      listOf: async function* () {
        for (const one of tags) yield { kind: 'tag', repositoryId, tag: one };
      },
    },
    tagRecords: { get: async (_, one) => void read.push(one) },
  });
  await purge.plan({ kind: 'tags', repositoryId, isWanted: (one) => one !== tags[1] }, waiting);
  expect(read).toEqual([tags[2]]); // The index has the first.
});

test('content is free when only what goes refers to it', () => {
  const purging = {
    repositoryId,
    tags: new Set([tag]),
    removed: new Map([[named('parent'), true]]),
    before: nothingBefore,
  };
  const free = (more: Partial<ContentDetails>) => isFree(details(more), purging);
  expect(free({ tags: [{ repositoryId, tag }], namedBy: [named('parent')] })).toBe(true);
  expect(free({ linkedBy: [repositoryId, other] })).toBe(false);
  expect(free({ tags: [{ repositoryId, tag: parseTag('2') }] })).toBe(false);
  expect(free({ tags: [{ repositoryId: other, tag }] })).toBe(false);
  expect(free({ namedBy: [named('parent'), named('another')] })).toBe(false);
  // The index may know of more than it tells.
  expect(free({ namedBy: Array.from({ length: mostDetails }, () => named('parent')) })).toBe(false);
});
