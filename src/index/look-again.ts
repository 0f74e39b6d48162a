import { parallel } from '../mirror/concurrency/parallel.ts';
import type { RecordKey, RecordStore } from '../mirror/ports/record-store.ts';
import type { IndexedContent } from '../mirror/ports/store-index.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import type { Digest } from '../oci/digest.ts';
import { indexRecords, inTurns, type RebuildableIndex, type RebuildDeps } from './rebuild.ts';

/** What may have changed in a store. */
export interface ChangedThings {
  readonly contents: readonly Digest[];
  readonly records: readonly RecordKey[];
}

/** The journal of what is about to change in a store, by epochs. */
export interface StoreChanges {
  /** The epoch that notes are added to. */
  readonly current: number;
  readonly hasNotes: boolean;
  /** The first epoch with changes that the index may not have been told of. */
  readonly oldestNeeded: number;
  /** What changed since an epoch began, before this process started; undefined if that is not known. */
  changedSince(epoch: number): Promise<ChangedThings | undefined>;
  /** Notes that something is about to be removed. */
  beginRemoval(...things: readonly (Digest | RecordKey)[]): Disposable & { readonly noted: Promise<void> };
  /** Resolves when power loss cannot bring back what was removed. @throws the disk's error. */
  settle(): Promise<void>;
  /** Begins a new epoch. */
  rotate(): Promise<void>;
  /** Removes the epochs before this one. */
  dropBefore(epoch: number): Promise<void>;
}

/** An index that knows what may have changed in the store since it was last written. */
export interface RecoverableIndex extends RebuildableIndex {
  /** Undefined if anything may have: then it must be rebuilt. */
  readonly changed?: ChangedThings | undefined;
  /** Drops content that the store does not have, unless it was written since the start. @returns the records that refer to it. */
  forgetMissing?(digest: Digest): Promise<readonly RecordKey[]>;
  /** Likewise, a link or a tag whose record is gone. */
  forgetRecord?(key: RecordKey): Promise<void>;
  /** Everything that may have changed was looked at: the index is complete. */
  completeLookAgain?(options: Waiting): Promise<void>;
}

export interface StoredStatus {
  readonly size: number;
  readonly modifiedAtMs: number;
}

export interface LookAgainDeps extends Pick<RebuildDeps, 'observer'> {
  readonly store: RebuildDeps['store'] & {
    /** Size and time of a stored file; undefined if there is none. @throws the disk's error. */
    statusOf(digest: Digest): Promise<StoredStatus | undefined>;
  };
  readonly records: Pick<RecordStore, 'list' | 'read' | 'remove'>;
  readonly index: RecoverableIndex;
}

const together = 16;

/**
 * Looks at what may have changed in the store, after a process that did not close its index: instead of a rebuild. The removal of content
 * that was under way is ended.
 * @throws the disk's error, or the signal's reason: then the index is not complete.
 */
export async function lookAgain(changed: ChangedThings, deps: LookAgainDeps & Waiting): Promise<void> {
  const { store, records, index, observer, signal } = deps;
  index.beginRebuild();
  const looked = parallel(changed.contents, together, (digest) => lookAt(digest, deps));
  for await (const content of inTurns(looked, deps)) if (content) index.recordStoredContent(content);
  const onMissing = async (key: RecordKey): Promise<void> => index.forgetRecord?.(key);
  await indexRecords(changed.records, { store, records, index, observer, signal, onMissing });
  await index.completeLookAgain?.({ signal });
}

/** Ends its removal, if it is not stored: many at the same time, so that they share the syncs of the journal. */
async function lookAt(digest: Digest, { store, records, index }: LookAgainDeps): Promise<IndexedContent | undefined> {
  const status = await store.statusOf(digest);
  if (status) return contentOf(digest, status);
  for (const key of (await index.forgetMissing?.(digest)) ?? []) await records.remove(key);
  const stored = await store.statusOf(digest); // By a pull, meanwhile.
  return stored && contentOf(digest, stored);
}

function contentOf(digest: Digest, { size, modifiedAtMs }: StoredStatus): IndexedContent {
  return { digest, size, isManifest: false, names: [], usedAtMs: modifiedAtMs };
}
