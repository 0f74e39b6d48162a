import type { Digest } from '../../oci/digest.ts';
import type { BlobLinks } from '../access/links.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Index } from '../ports/store-index.ts';
import type { Kept } from './commit.ts';
import type { DownloadOrder } from './run.ts';

/** What is told of a blob that is stored now. */
export interface BlobRecording {
  readonly index: Pick<Index, 'noteContent'>;
  readonly links: Pick<BlobLinks, 'record'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly observer: Pick<Observer, 'contentStored'>;
  /** Blobs that the disk failed to read a moment ago. */
  readonly unreadable: { forget(digest: Digest): void };
}

/** Records a blob that is visible now: the index counts it, and the repository is linked to it. */
export async function recordBlob(
  { repositoryId, digest }: Pick<DownloadOrder, 'repositoryId' | 'digest'>,
  { size, how }: { readonly size: number; readonly how: Kept },
  { index, links, clock, observer, unreadable }: BlobRecording,
): Promise<void> {
  unreadable.forget(digest);
  // At once, so that there is no moment in which it counts neither as arriving nor as stored.
  index.noteContent({ digest, size, isManifest: false, names: [], usedAtMs: clock.now() });
  await links.record(repositoryId, digest, size);
  if (how === 'committed') observer.contentStored({ kind: 'blob', bytes: size });
}
