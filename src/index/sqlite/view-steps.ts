import { setImmediate as nextTurn } from 'node:timers/promises';
import { distinctRecords, type RecordKey } from '../../mirror/ports/record-store.ts';
import type { EvictableContent, EvictableOptions } from '../../mirror/ports/store-index.ts';
import { type RepositoryId, repositoryKey } from '../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Digest } from '../../oci/digest.ts';
import type { StoreChanges } from '../look-again.ts';
import type { BufferFlusher } from './buffer-flusher.ts';
import { inTransaction } from './rows.ts';
import type { OpenView } from './open-view.ts';
import type { WriteBuffer } from '../write-buffer.ts';

// Operations on many rows of the index, in steps that yield to the event loop. They include buffered writes.

/** What these operations need besides the file. */
export interface Steps {
  readonly pending: WriteBuffer;
  readonly flusher: Pick<BufferFlusher, 'ready' | 'wrote'>;
  /** Where it is noted what is about to be removed from the store; absent: it is not noted. */
  readonly changes: StoreChanges | undefined;
}

/** Lets others have their turn. The file may be written to when it resolves, until the caller waits again. */
async function turn(flusher: Pick<BufferFlusher, 'ready'>): Promise<void> {
  await nextTurn();
  await flusher.ready();
}

/** Resolves when a change is noted and the file may be written to: in this order, since the index may be saved meanwhile. */
async function notedBefore(
  change: { readonly noted: Promise<void> } | undefined,
  flusher: Steps['flusher'],
): Promise<void> {
  await change?.noted;
  await turn(flusher);
}

/** Evictable content after `after`, at most `limit` items. */
export async function evictableOf(
  { reader }: OpenView,
  { pending, flusher }: Steps,
  { limit, after }: EvictableOptions,
): Promise<readonly EvictableContent[]> {
  const found: EvictableContent[] = [];
  for (let from = after; found.length < limit; ) {
    const page = reader.evictable(limit, from);
    found.push(...page.filter(({ digest }) => !pending.isNamed(digest)));
    from = page.at(-1);
    if (page.length < limit) break;
    if (found.length < limit) await turn(flusher);
  }
  return found.slice(0, limit);
}

/**
 * Removes a digest: its many links in steps, then the rest at once. What is removed is noted first: an end of the process in between must
 * not leave files of which no index knows.
 * @returns the records that refer to it.
 */
export async function removeContent(
  { database, remover }: OpenView,
  { pending, flusher, changes }: Steps,
  digest: Digest,
): Promise<readonly RecordKey[]> {
  using change = changes?.beginRemoval(digest, ...remover.recordsOf(digest));
  if (change) await notedBefore(change, flusher);
  const removed: RecordKey[] = [];
  for (const links of remover.removeManyLinks(digest)) {
    removed.push(...links);
    flusher.wrote(links.length);
    await turn(flusher);
  }
  const rest: RecordKey[] = [];
  inTransaction(database, () => rest.push(...remover.remove(digest)));
  flusher.wrote(rest.length + 1);
  removed.push(...rest.filter((key) => key.kind !== 'tag' || !pending.hasTag(key)));
  const buffered = pending.forget(digest);
  pending.takeBackNames(digest);
  return distinctRecords([...buffered, ...removed]);
}

/**
 * Removes content that the store does not have, unless it was written since the start: then it may not be in the store yet. Where only names
 * that it gave can be left, as after most evictions, nothing is noted: each note would wait for a sync of the journal.
 */
export async function removeMissing(view: OpenView, steps: Steps, digest: Digest): Promise<readonly RecordKey[]> {
  const { reader, remover, rebuild } = view;
  if (remover.isSeen(digest, rebuild)) return [];
  const isKnown = reader.hasContent(digest) || remover.recordsOf(digest).length > 0;
  return removeContent(view, isKnown ? steps : { ...steps, changes: undefined }, digest);
}

/** Ends a rebuild: removes the rows whose content or record was not found in the store. @throws the signal's reason when it aborts. */
export async function removeUnseen(
  { remover, rebuild }: OpenView,
  { pending, flusher }: Steps,
  { signal }: Waiting,
): Promise<void> {
  for (const removed of remover.removeUnseen(rebuild)) {
    for (const digest of removed) pending.takeBackNames(digest);
    await turn(flusher);
    signal.throwIfAborted();
  }
}

/** Removes the rows of a repository, in steps: a repository of nightly builds has thousands. @returns their records. */
export async function removeRepository(
  { database, remover }: OpenView,
  { pending, flusher, changes }: Steps,
  repositoryId: RepositoryId,
): Promise<readonly RecordKey[]> {
  const name = repositoryKey(repositoryId);
  const removed = [...pending.forgetRepository(name)];
  for (;;) {
    const some = remover.recordsOfRepository(name);
    if (some.length === 0) return distinctRecords(removed);
    using change = changes?.beginRemoval(...some);
    await notedBefore(change, flusher);
    inTransaction(database, () => removed.push(...remover.removeOfRepository(name)));
    flusher.wrote(some.length);
    await turn(flusher);
  }
}
