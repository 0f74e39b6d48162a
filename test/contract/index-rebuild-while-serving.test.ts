import { describe, expect, test } from 'vitest';
import type { BlobStore } from '../../src/mirror/ports/blob-store.ts';
import type { RecordStore } from '../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { parseTag } from '../../src/oci/reference.ts';
import { type FileStores, preparedStores } from '../support/file-stores.ts';
import { gate } from '../support/gate.ts';
import { alpine, local, latest, built, whole, keepImage, rebuild, usedAt } from '../support/rebuilds.ts';
import { never } from '../support/sqlite-index.ts';
import { indexes } from './indexes.ts';

describe.each(indexes)('during a rebuild of an index $name', ({ newPlace }) => {
  /** A store whose listing waits, before its first blob, until the test lets it continue. */
  function waiting({ store, records }: FileStores) {
    const reached = gate();
    const proceed = gate();
    async function* list(): ReturnType<BlobStore['list']> {
      reached.open();
      await proceed.opened;
      yield* store.list();
    }
    const readAll: BlobStore['readAll'] = (digest, maxBytes) => store.readAll(digest, maxBytes);
    return { store: { list, readAll }, records, reached: reached.opened, proceed: () => proceed.open() };
  }

  test('new writes stay: content, links, tags and uses', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    const index = await (await newPlace()).start();
    const slow = waiting(kept);
    const running = rebuild(index, slow);
    await slow.reached;
    const fresh = digestOf(Buffer.from('fresh'));
    const future = Date.now() + 1_000_000;
    index.recordContent({ digest: fresh, size: 1000, isManifest: true, names: [], usedAtMs: 1 });
    index.recordLink({ repositoryId: local, kind: 'manifest', digest: fresh, mediaType: ociManifest, size: 1000 });
    index.recordTag(alpine, latest, fresh);
    index.recordUse(built.manifest.digest, future);
    await index.totals();
    slow.proceed();
    await running;

    expect(await index.totals()).toMatchObject({ bytes: whole + 1000, manifests: 2, blobs: 3 });
    expect(await usedAt(index, built.manifest.digest)).toBe(future);
    expect(await index.forget(built.manifest.digest)).toHaveLength(1);
    const keys = await index.forget(fresh);
    expect(keys).toHaveLength(2);
    expect(keys).toContainEqual({ kind: 'tag', repositoryId: alpine, tag: latest });
  });

  test('a waiter is told when it has ended, and not before', async () => {
    const kept = await preparedStores();
    const index = await (await newPlace()).start();
    const slow = waiting(kept);
    const running = rebuild(index, slow);
    const told: string[] = [];
    const waiters = [1, 2].map(async () => {
      await index.whenComplete({ signal: never });
      told.push('complete');
    });
    await slow.reached;
    await index.totals();
    expect(told).toEqual([]);
    slow.proceed();
    await running;
    await Promise.all(waiters);
    expect(told).toEqual(['complete', 'complete']);
  });

  test('a waiter may leave', async () => {
    const index = await (await newPlace()).start();
    const leaving = new AbortController();
    const wait = index.whenComplete({ signal: leaving.signal });
    leaving.abort(new Error('gone'));
    await expect(wait).rejects.toThrow('gone');
    await expect(index.whenComplete({ signal: leaving.signal })).rejects.toThrow('gone');
  });

  test('it can be stopped, and is then incomplete', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    const index = await (await newPlace()).start();
    const slow = waiting(kept);
    const stopping = new AbortController();
    const running = rebuild(index, slow, stopping.signal);
    await slow.reached;
    stopping.abort(new Error('stopping'));
    kept.files.calls.length = 0;
    slow.proceed();
    await expect(running).rejects.toThrow('stopping');
    expect(kept.files.calls.filter(({ path }) => path.includes('/repositories/docker.io'))).toEqual([]);
    expect(index.needsRebuild).toBe(true);
  });

  test('a tag that moves between reading and writing its record keeps its new digest', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    const index = await (await newPlace()).start();
    const moved = digestOf(Buffer.from('moved'));
    const read: RecordStore['read'] = async (key) => {
      const value = await kept.records.read(key);
      if (key.kind === 'tag') index.recordTag(alpine, latest, moved);
      return value;
    };
    await rebuild(index, { store: kept.store, records: { list: () => kept.records.list(), read } });
    expect(await index.forget(moved)).toEqual([{ kind: 'tag', repositoryId: alpine, tag: latest }]);
  });

  test('a tag that is forgotten between reading and writing its record stays forgotten, until it is pulled again', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    const index = await (await newPlace()).start();
    const again = parseTag('again');
    const tagKey = { kind: 'tag', repositoryId: alpine, tag: latest } as const;
    const record = await kept.records.read(tagKey);
    await kept.records.write({ ...tagKey, tag: again }, { ...Object(record), tag: again });
    const read: RecordStore['read'] = async (key) => {
      const value = await kept.records.read(key);
      if (key.kind !== 'tag') return value;
      index.forgetTag(alpine, key.tag);
      await index.totals(); // It is no longer buffered.
      if (key.tag === latest) await kept.records.remove(key);
      else index.recordTag(alpine, key.tag, built.manifest.digest);
      return value;
    };
    await rebuild(index, { store: kept.store, records: { list: () => kept.records.list(), read } });
    const tags = (await index.forget(built.manifest.digest)).filter(({ kind }) => kind === 'tag');
    expect(tags).toEqual([{ ...tagKey, tag: again }]);
  });
});
