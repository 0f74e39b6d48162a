import { join } from 'node:path';
import { SharedSweep, type SharedSweepDeps } from '../../../../src/app/bucket/sweep.ts';
import { BucketCount } from '../../../../src/cluster/bucket/bucket-count.ts';
import type { RepositoryId } from '../../../../src/mirror/ports/repository-id.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { parseTag } from '../../../../src/oci/reference.ts';
import { DurableFolders } from '../../../../src/storage/filesystem/durable-folders.ts';
import { nodeFiles } from '../../../../src/storage/filesystem/file-system.ts';
import { BucketContents } from '../../../../src/storage/s3/sweep/bucket-contents.ts';
import { startFakeS3 } from '../../../support/fake-s3.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { alpine, bucketParts } from '../../storage/s3/parts.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

export const day = 24 * 3_600_000;
export const mediaType = 'application/vnd.oci.image.manifest.v1+json';

/** A sweep of a bucket in memory. */
export async function sweeping({
  maxBytes = 1e9,
  unusedForMs = Infinity,
  keep = [] as readonly string[],
  memoryBytes = 256 * 1024 * 1024,
  wait = undefined as SharedSweepDeps['wait'],
} = {}) {
  const s3 = await startFakeS3();
  const clock = new ManualClock(Date.now());
  const parts = bucketParts(s3.settings, { clock, memoryBytes, idleMs: 20_000 });
  const observer = new RecordingObserver();
  const count = new BucketCount({ clock });
  const sweep = new SharedSweep({
    bucket: {
      contents: (options) => new BucketContents(parts, options),
      abortUploads: async (options) => void (await parts.objects.abortUploads(parts.layout.root, options)),
    },
    limits: { maxBytes, unusedForMs, keep },
    path: join(await temporaryDirectory(), 'shared-index.sqlite'),
    files: new DurableFolders({ files: nodeFiles }),
    clock,
    observer,
    count,
    isFirst: () => true,
    ...(wait && { wait }),
  });
  return { count, s3, clock, parts, observer, sweep };
}

export type Sweeping = Awaited<ReturnType<typeof sweeping>>;

/** A blob of a repository. */
export function put(
  { s3, clock, parts }: Sweeping,
  bytes: Buffer,
  ageDays: number,
  repositoryId: RepositoryId = alpine,
): Digest {
  const digest = digestOf(bytes);
  const key = parts.layout.blob(digest);
  s3.objects.set(key, bytes);
  s3.times.set(key, new Date(clock.now() - ageDays * day));
  const record = { size: bytes.byteLength, firstServedAtMs: 1 };
  s3.objects.set(parts.layout.record({ kind: 'blob', repositoryId, digest }), Buffer.from(JSON.stringify(record)));
  return digest;
}

/** A manifest of alpine with a tag. */
export function putManifest(
  { s3, clock, parts }: Sweeping,
  names: readonly Digest[],
  ageDays: number,
  tag: string,
  paddedTo = 0,
): Digest {
  const layers = names.map((digest) => ({ mediaType: 'application/octet-stream', digest, size: 1 }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, layers }).padEnd(paddedTo));
  const digest = digestOf(bytes);
  s3.objects.set(parts.layout.blob(digest), bytes);
  s3.times.set(parts.layout.blob(digest), new Date(clock.now() - ageDays * day));
  const record = { mediaType, size: bytes.byteLength, firstServedAtMs: clock.now() - ageDays * day };
  s3.objects.set(
    parts.layout.record({ kind: 'manifest', repositoryId: alpine, digest }),
    Buffer.from(JSON.stringify(record)),
  );
  s3.objects.set(
    parts.layout.record({ kind: 'tag', repositoryId: alpine, tag: parseTag(tag) }),
    Buffer.from(JSON.stringify({ tag, digest, mediaType, size: bytes.byteLength, confirmedAtMs: 1 })),
  );
  return digest;
}

export function has({ s3, parts }: Sweeping, digest: Digest): boolean {
  return s3.objects.has(parts.layout.blob(digest));
}
