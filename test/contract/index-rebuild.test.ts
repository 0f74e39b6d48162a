import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { RecordKey } from '../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../src/oci/reference.ts';
import { blobPath, recordPath } from '../../src/storage/layout.ts';
import { preparedStores } from '../support/file-stores.ts';
import { image } from '../support/images.ts';
import { alpine, local, latest, everything, built, whole, keepImage, rebuild, usedAt } from '../support/rebuilds.ts';
import { never } from '../support/sqlite-index.ts';
import { indexes } from './indexes.ts';

describe.each(indexes)('a rebuild of an index $name', ({ newPlace }) => {
  test('finds everything in the store that an index knows', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    await keepImage(kept, local, image({ name: 'other' }));
    const index = await (await newPlace()).start();
    expect(await rebuild(index, kept)).toEqual([]);

    expect(index.needsRebuild).toBe(false);
    await index.whenComplete({ signal: never });
    expect(await index.totals()).toMatchObject({ manifests: 2, blobs: 5 });
    expect(await index.repositories({ last: undefined, limit: 10 })).toEqual([
      '127.0.0.1:5000/app',
      'docker.io/library/alpine',
    ]);
    const evictable = await index.evictable(everything);
    expect(evictable.map(({ isManifest }) => isManifest)).toEqual([true, true]);
    expect(evictable.map(({ digest }) => digest)).toContain(built.manifest.digest);
    const expected: RecordKey[] = [
      { kind: 'manifest', repositoryId: alpine, digest: built.manifest.digest },
      { kind: 'tag', repositoryId: alpine, tag: latest },
    ];
    expect(await index.forget(built.manifest.digest)).toEqual(expected);
    expect(await index.evictable(everything)).toHaveLength(4);
  });

  test('finds the links that a repository may borrow', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    const debian = { upstream: 'docker.io', repository: parseRepository('library/debian') };
    const [layer] = built.blobs;
    await kept.records.write(
      { kind: 'manifest', repositoryId: debian, digest: built.manifest.digest },
      { mediaType: ociManifest, size: 1, firstServedAtMs: 1 },
    );
    const index = await (await newPlace()).start();
    await rebuild(index, kept);
    expect(await index.borrowableLinks(debian, layer?.digest ?? built.manifest.digest, 'blob')).toEqual([
      {
        repositoryId: alpine,
        kind: 'blob',
        digest: layer?.digest,
        mediaType: undefined,
        size: layer?.bytes.byteLength,
      },
    ]);
  });

  test('uses the time a file was written as its last use, if no other is known', async () => {
    const kept = await preparedStores();
    const [blob] = built.blobs;
    if (!blob) throw new Error('the image has no blobs');
    await kept.store.put(blob.digest, blob.bytes);
    await utimes(join(kept.path, blobPath(blob.digest)), 5000, 5000);
    const index = await (await newPlace()).start();
    await rebuild(index, kept);
    expect(await usedAt(index, blob.digest)).toBe(5_000_000);
  });

  test('drops what the store lacks: content, links and tags', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    const place = await newPlace();
    const former = await place.start();
    await rebuild(former, kept);
    for (let number = 0; number < 1200; number += 1) {
      const digest = digestOf(Buffer.from(`gone ${number}`));
      const repositoryId = { ...alpine, repository: parseRepository(`gone/${number}`) };
      former.recordContent({ digest, size: 1000, isManifest: false, names: [], usedAtMs: 1 });
      former.recordLink({ repositoryId, kind: 'blob', digest, mediaType: undefined, size: 1000 });
      former.recordTag(repositoryId, latest, built.manifest.digest);
    }
    const ghost = digestOf(Buffer.from('ghost'));
    const [layer] = built.blobs;
    former.recordContent({ digest: ghost, size: 1, isManifest: true, names: [layer?.digest ?? ghost], usedAtMs: 1 });
    await former.totals();
    await place.kill(former);

    const index = await place.start();
    expect(await index.totals()).toMatchObject({ blobs: 3 + 1200 });
    await rebuild(index, kept);
    expect(await index.totals()).toMatchObject({ bytes: whole, manifests: 1, blobs: 3 });
    expect(await index.repositories({ last: undefined, limit: 10 })).toEqual(['docker.io/library/alpine']);
    expect(await index.forget(digestOf(Buffer.from('gone 1')))).toEqual([]);
    expect(await index.forget(built.manifest.digest)).toHaveLength(2);
    expect(await index.evictable(everything)).toHaveLength(3);
  });

  test('keeps the times of last use', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    const place = await newPlace();
    const former = await place.start();
    await rebuild(former, kept);
    const future = Date.now() + 1_000_000;
    former.recordUse(built.manifest.digest, future);
    await former.totals();
    await place.kill(former);

    const index = await place.start();
    await rebuild(index, kept);
    expect(await usedAt(index, built.manifest.digest)).toBe(future);
  });

  test('reads a manifest once, however many repositories link to it', async () => {
    const kept = await preparedStores();
    for (const name of ['a', 'b', 'c']) await keepImage(kept, { ...alpine, repository: parseRepository(name) });
    const index = await (await newPlace()).start();
    kept.files.calls.length = 0;
    await rebuild(index, kept);
    const file = join(kept.path, blobPath(built.manifest.digest));
    expect(kept.files.calls.filter(({ operation, path }) => operation === 'open' && path === file)).toHaveLength(1);
  });

  test('skips invalid records, and reports them; those of blobs are not read', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    const other = parseTag('other');
    const digest = digestOf(Buffer.from('some'));
    await kept.records.write({ kind: 'tag', repositoryId: alpine, tag: other }, { digest: 'sha256:short' });
    await kept.records.write({ kind: 'manifest', repositoryId: alpine, digest }, { size: -1 });
    await kept.records.write({ kind: 'blob', repositoryId: alpine, digest }, { size: 1 });
    await kept.records.write({ kind: 'blob', repositoryId: local, digest }, { size: 1e300, firstServedAtMs: 0.5 });
    await writeFile(join(kept.path, recordPath({ kind: 'tag', repositoryId: alpine, tag: parseTag('torn') })), '{');
    const index = await (await newPlace()).start();

    const failures = await rebuild(index, kept);
    expect(failures.map(String).toSorted()).toEqual([
      `Error: unreadable: manifest docker.io/library/alpine ${digest}`,
      'Error: unreadable: tag docker.io/library/alpine other',
    ]);
    expect(kept.failures).toHaveLength(1);
    const links = [alpine, local].map((repositoryId) => ({ kind: 'blob', repositoryId, digest }));
    expect(await index.forget(digest)).toEqual(expect.arrayContaining(links));
    expect(await index.forget(built.manifest.digest)).toHaveLength(2);
  });

  test('continues past a manifest that the disk cannot read', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    kept.files.failWith = ({ operation, path }) =>
      operation === 'open' && path.endsWith(blobPath(built.manifest.digest)) ? 'EIO' : undefined;
    const index = await (await newPlace()).start();
    const failures = await rebuild(index, kept);
    expect(failures).toMatchObject([
      { message: expect.stringContaining('unreadable: manifest'), cause: { code: 'EIO' } },
    ]);
    expect(await index.totals()).toMatchObject({ bytes: whole, manifests: 0, blobs: 4 });
    expect(index.needsRebuild).toBe(false);
  });

  test.each(['/repositories/', '/blobs/'])(
    'without file descriptors drops nothing, and is incomplete: %s',
    async (folder) => {
      const kept = await preparedStores();
      await keepImage(kept);
      kept.files.failWith = ({ operation, path }) =>
        operation === 'open' && path.includes(folder) ? 'EMFILE' : undefined;
      const index = await (await newPlace()).start();
      await expect(rebuild(index, kept)).rejects.toMatchObject({ code: 'EMFILE' });
      expect(index.needsRebuild).toBe(true);
    },
  );

  test('knows a manifest whose content is gone only as a link', async () => {
    const kept = await preparedStores();
    await keepImage(kept);
    await kept.store.remove(built.manifest.digest);
    const index = await (await newPlace()).start();
    await rebuild(index, kept);
    expect(await index.totals()).toMatchObject({ manifests: 0, blobs: 3 });
    expect(await index.forget(built.manifest.digest)).toHaveLength(2);
  });

  test.each(['blobs', 'repositories'])('that cannot list the %s drops nothing, and is incomplete', async (folder) => {
    const kept = await preparedStores();
    await keepImage(kept);
    const place = await newPlace();
    const former = await place.start();
    await rebuild(former, kept);
    await place.kill(former);

    kept.files.failWith = ({ operation, path }) =>
      operation === 'entries' && path.includes(`/${folder}/`) ? 'EIO' : undefined;
    const index = await place.start();
    await expect(rebuild(index, kept)).rejects.toMatchObject({ code: 'EIO' });
    expect(index.needsRebuild).toBe(true);
    expect(await index.totals()).toMatchObject({ bytes: whole, manifests: 1, blobs: 3 });
    expect(await index.forget(built.manifest.digest)).toHaveLength(2);
  });
});
