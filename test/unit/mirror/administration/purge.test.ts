import { expect, test } from 'vitest';
import { isFree, nothingBefore, Purge, type PurgeDeps } from '../../../../src/mirror/administration/purge.ts';
import { type ContentDetails, mostDetails } from '../../../../src/mirror/ports/store-index.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { parseRepository, parseTag, type Tag } from '../../../../src/oci/reference.ts';

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
function purgeOf(deps: Partial<PurgeDeps['index']> & { readonly most?: number } = {}) {
  const { most, ...more } = deps;
  const [manifest, layer] = [named('manifest'), named('layer')];
  const known = new Map([
    [manifest, details({ names: [layer], tags: [{ repositoryId, tag }] })],
    [layer, details({ namedBy: [manifest] })],
  ]);
  const gone: Digest[] = [];
  const forgotten: Tag[] = [];
  const index: PurgeDeps['index'] = {
    isComplete: async () => true,
    repositories: async () => [],
    isNeeded: async () => true,
    tags: async (_, { after }) => (after === undefined ? [{ tag, digest: manifest, isStored: true }] : []),
    links: async (_, { after }) => (after === undefined ? [layer, manifest] : []),
    details: async (digest) => known.get(digest) ?? details({ content: undefined }),
    ...more,
  };
  const record = { digest: manifest, mediaType: ociManifest, size: 1, confirmedAtMs: 0 };
  const purge = new Purge({
    index,
    background: { settled: async () => {} },
    tagRecords: {
      get: async () => record,
      forget: (_, one) => {
        forgotten.push(one);
        known.set(manifest, details({ names: [layer] }));
      },
    },
    space: {
      purge: async ({ digest }, mayGo) => {
        if (!(await mayGo())) return false;
        gone.push(digest);
        known.delete(digest);
        if (digest === manifest) known.set(layer, details());
        return true;
      },
      purgeRepository: async () => true,
    },
    ...(most !== undefined && { most }),
  });
  return { purge, known, gone, forgotten, manifest, layer };
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
