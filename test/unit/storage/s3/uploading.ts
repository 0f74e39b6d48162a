import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import type { RepositoryId } from '../../../../src/mirror/ports/repository-id.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { UploadJournal } from '../../../../src/storage/s3/uploads/upload-journal.ts';
import { Upload } from '../../../../src/storage/s3/uploads/upload.ts';
import { Uploads } from '../../../../src/storage/s3/uploads/uploads.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import type { BucketSettings } from '../../../../src/storage/s3/access/client.ts';
import { type FakeS3, startFakeS3 } from '../../../support/fake-s3.ts';
import { MemoryBlobs } from '../../../support/memory-blobs.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { alpine, bucketParts } from './parts.ts';

const mediaType = 'application/vnd.oci.image.manifest.v1+json';

class LocalBlobs extends MemoryBlobs {
  async put(digest: Digest, bytes: Buffer): Promise<void> {
    this.blobs.set(digest, bytes);
  }

  async readAll(digest: Digest): Promise<Uint8Array | undefined> {
    return this.blobs.get(digest);
  }
}

interface Setup {
  readonly s3?: FakeS3;
  /** Of another bucket than the fake one. */
  readonly settings?: BucketSettings;
  readonly local?: { readonly store: LocalBlobs; readonly records: MemoryRecords };
  readonly path?: string;
  readonly maxQueued?: number;
  readonly memoryBytes?: number;
}

/** Uploads from a store in memory, with pauses that the test ends. */
export async function uploading({ memoryBytes = 256 * 1024 * 1024, ...given }: Setup = {}) {
  const s3 = given.s3 ?? (await startFakeS3());
  const settings = given.settings ?? s3.settings;
  const parts = bucketParts(settings);
  const local = given.local ?? { store: new LocalBlobs(), records: new MemoryRecords() };
  const path = given.path ?? join(await temporaryDirectory(), 'uploads.log');
  const failures: unknown[] = [];
  const memory = new MemoryBudget({ maxBytes: memoryBytes });
  const pauses: { readonly ms: number; readonly end: () => void }[] = [];
  const upload = new Upload({
    ...parts,
    settings,
    memory,
    local,
    onManifest: (repositoryId, digest, named) => uploads.noteManifest(repositoryId, digest, named),
  });
  const journal = new UploadJournal({
    path,
    observer: { internalError: ({ cause }) => failures.push(cause) },
    pending: () => uploads.pending(),
  });
  const uploads: Uploads = new Uploads({
    upload,
    journal,
    observer: parts.observer,
    waitMs: () => parts.calls.waitMs('write'),
    random: () => 0.5,
    later: (ms, work) => {
      pauses.push({ ms, end: work });
      return () => {};
    },
    ...(given.maxQueued !== undefined && { maxQueued: given.maxQueued }),
  });
  const idle = async (): Promise<void> => {
    while (uploads.queued > 0) await sleep(2);
  };
  return { ...parts, s3, local, path, failures, pauses, memory, journal, uploads, idle };
}

type Uploading = Awaited<ReturnType<typeof uploading>>;

export async function keepBlob(
  { local }: Pick<Uploading, 'local'>,
  bytes: Buffer,
  repositoryId: RepositoryId = alpine,
) {
  const digest = digestOf(bytes);
  await local.store.put(digest, bytes);
  const key: RecordKey = { kind: 'blob', repositoryId, digest };
  await local.records.write(key, { size: bytes.byteLength, firstServedAtMs: 1 });
  return { digest, key };
}

export async function keepManifest(
  { local }: Pick<Uploading, 'local'>,
  layers: readonly { digest: Digest; size: number }[],
) {
  const described = layers.map((layer) => ({ mediaType: 'application/octet-stream', ...layer }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, layers: described }));
  const digest = digestOf(bytes);
  await local.store.put(digest, bytes);
  const key: RecordKey = { kind: 'manifest', repositoryId: alpine, digest };
  await local.records.write(key, { mediaType, size: bytes.byteLength, firstServedAtMs: 1 });
  return { digest, key, bytes };
}
