import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { RecordKey, RecordStore } from '../../src/mirror/ports/record-store.ts';
import type { RepositoryId } from '../../src/mirror/ports/repository-id.ts';
import { parseDigest } from '../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../src/oci/reference.ts';
import { FileBlobStore } from '../../src/storage/filesystem/blob-store.ts';
import { FileRecordStore } from '../../src/storage/filesystem/record-store.ts';
import { recordPath } from '../../src/storage/layout.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

interface Subject {
  readonly records: RecordStore;
  readonly failures: readonly unknown[];
  /** Puts other bytes where a record is, behind the store's back. */
  readonly replace: (key: RecordKey, bytes: string) => Promise<void>;
}

async function onFilesystem(): Promise<Subject> {
  const path = await temporaryDirectory();
  const failures: unknown[] = [];
  const observer = {
    corruptionFound: () => {},
    internalError: ({ cause }: { cause: unknown }) => failures.push(cause),
  };
  const shared = { path, observer, failpoint: () => {} };
  await new FileBlobStore({ ...shared, clock: new ManualClock() }).prepare();
  const replace = async (key: RecordKey, bytes: string): Promise<void> => {
    const file = join(path, recordPath(key));
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, bytes);
  };
  return { records: new FileRecordStore(shared), failures, replace };
}

const digest = parseDigest(`sha256:${'ab'.repeat(32)}`);
const long = parseDigest(`sha512:${'cd'.repeat(64)}`);
const alpine = repository('docker.io', 'library/alpine');
const latest: RecordKey = { kind: 'tag', repositoryId: alpine, tag: parseTag('latest') };

function repository(upstream: string, name: string): RepositoryId {
  return { upstream, repository: parseRepository(name) };
}

describe.each([{ name: 'on the file system', subject: onFilesystem }])('a record store $name', ({ subject }) => {
  test('returns what was written last', async () => {
    const { records } = await subject();
    await records.write(latest, { digest, size: 1, nested: { text: 'ä' } });
    expect(await records.read(latest)).toEqual({ digest, size: 1, nested: { text: 'ä' } });
    await records.write(latest, { digest, size: 2 });
    expect(await records.read(latest)).toEqual({ digest, size: 2 });
  });

  test('has no record before one is written', async () => {
    const { records, failures } = await subject();
    expect(await records.read(latest)).toBeUndefined();
    expect(await Array.fromAsync(records.list())).toEqual([]);
    expect(failures).toEqual([]);
  });

  test.each(['', '{', '{"digest":', '\0\0\0\0'])(
    'treats %j as no record, reports it, and can overwrite it',
    async (torn) => {
      const { records, failures, replace } = await subject();
      await replace(latest, torn);
      expect(await records.read(latest)).toBeUndefined();
      expect(failures).toHaveLength(1);

      await records.write(latest, { size: 3 });
      expect(await records.read(latest)).toEqual({ size: 3 });
    },
  );

  test('removes a record, and may be asked to do so twice', async () => {
    const { records } = await subject();
    await records.write(latest, { size: 1 });
    await records.remove(latest);
    await records.remove(latest);
    expect(await records.read(latest)).toBeUndefined();
    expect(await Array.fromAsync(records.list())).toEqual([]);
  });

  test('keeps the last of several concurrent writes', async () => {
    const { records } = await subject();
    await Promise.all(Array.from({ length: 40 }, (_, number) => records.write(latest, { number })));
    expect(await records.read(latest)).toEqual({ number: 39 });

    await Promise.all([records.write(latest, { number: 40 }), records.remove(latest)]);
    expect(await records.read(latest)).toBeUndefined();
    await Promise.all([records.remove(latest), records.write(latest, { number: 41 })]);
    expect(await records.read(latest)).toEqual({ number: 41 });
  });

  test('shows a reader the old or the new record, whole', async () => {
    const { records, failures } = await subject();
    const text = 'x'.repeat(20_000);
    await records.write(latest, { number: 0, text });
    const writing = Promise.all(Array.from({ length: 30 }, (_, number) => records.write(latest, { number, text })));
    for (let number = 0; number < 30; number += 1) {
      expect(await records.read(latest)).toEqual({ number: expect.any(Number), text });
    }
    await writing;
    expect(failures).toEqual([]);
  });

  test('writes and removes records of one repository concurrently', async () => {
    const { records } = await subject();
    const keys = Array.from(
      { length: 30 },
      (_, n): RecordKey => ({ kind: 'tag', repositoryId: alpine, tag: parseTag(`v${n}`) }),
    );
    await Promise.all(
      keys.map(async (key, number) => {
        await records.write(key, { number });
        await records.remove(key);
        await records.write(key, { number });
        if (number % 2 === 1) await records.remove(key);
      }),
    );
    const found = await Promise.all(keys.map((key) => records.read(key)));
    expect(found).toEqual(keys.map((_, number) => (number % 2 === 1 ? undefined : { number })));
  });

  test('keeps records of each kind separate, and lists them all', async () => {
    const { records } = await subject();
    const repositories = [
      alpine,
      repository('docker.io', 'library'),
      repository('docker.io', 'library/alpine/tags'),
      repository('ghcr.io', 'library/alpine'),
      repository('127.0.0.1:5000', 'library/alpine'),
    ];
    const keys = repositories.flatMap((repositoryId): RecordKey[] => [
      { kind: 'tag', repositoryId, tag: parseTag('latest') },
      { kind: 'tag', repositoryId, tag: parseTag('Latest_') },
      { kind: 'manifest', repositoryId, digest },
      { kind: 'blob', repositoryId, digest },
      { kind: 'referrers', repositoryId, digest },
      { kind: 'manifest', repositoryId, digest: long },
      { kind: 'tag-list', repositoryId },
      { kind: 'visibility', repositoryId },
    ]);
    await Promise.all(keys.map((key, number) => records.write(key, { number })));

    expect(await Promise.all(keys.map((key) => records.read(key)))).toEqual(keys.map((_, number) => ({ number })));
    const listed = await Array.fromAsync(records.list());
    expect(listed.map(recordPath).toSorted()).toEqual(keys.map(recordPath).toSorted());
    for (const repositoryId of repositories) {
      const own = keys.filter((key) => key.repositoryId === repositoryId);
      const found = await Array.fromAsync(records.listOf(repositoryId));
      expect(found.map(recordPath).toSorted()).toEqual(own.map(recordPath).toSorted());
    }
    expect(await Array.fromAsync(records.listOf(repository('ghcr.io', 'library')))).toEqual([]);
  });
});
