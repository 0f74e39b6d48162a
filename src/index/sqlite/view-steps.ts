import { setImmediate as nextTurn } from 'node:timers/promises';
import { distinctRecords, type RecordKey } from '../../mirror/ports/record-store.ts';
import type { EvictableContent, EvictableOptions } from '../../mirror/ports/store-index.ts';
import { type RepositoryId, repositoryKey } from '../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Digest } from '../../oci/digest.ts';
import { inTransaction } from './rows.ts';
import type { OpenView } from './open-view.ts';
import type { WriteBuffer } from '../write-buffer.ts';

// Operations on many rows of the index, in steps that yield to the event loop. They include buffered writes.

/** Evictable content after `after`, at most `limit` items. */
export async function evictableOf(
  { reader }: OpenView,
  pending: WriteBuffer,
  { limit, after }: EvictableOptions,
): Promise<readonly EvictableContent[]> {
  const found: EvictableContent[] = [];
  for (let from = after; found.length < limit; ) {
    const page = reader.evictable(limit, from);
    found.push(...page.filter(({ digest }) => !pending.isNamed(digest)));
    from = page.at(-1);
    if (page.length < limit) break;
    if (found.length < limit) await nextTurn();
  }
  return found.slice(0, limit);
}

/** Removes a digest: its many links in steps, then the rest at once. @returns the records that refer to it. */
export async function removeContent(
  { database, remover }: OpenView,
  pending: WriteBuffer,
  digest: Digest,
): Promise<readonly RecordKey[]> {
  const removed: RecordKey[] = [];
  for (const links of remover.removeManyLinks(digest)) {
    removed.push(...links);
    await nextTurn();
  }
  inTransaction(database, () => {
    removed.push(...remover.remove(digest).filter((key) => key.kind !== 'tag' || !pending.hasTag(key)));
  });
  const buffered = pending.forget(digest);
  pending.takeBackNames(digest);
  return distinctRecords([...buffered, ...removed]);
}

/** Ends a rebuild: removes the rows whose content or record was not found in the store. @throws the signal's reason when it aborts. */
export async function removeUnseen(
  { remover, rebuild }: OpenView,
  pending: WriteBuffer,
  { signal }: Waiting,
): Promise<void> {
  for (const removed of remover.removeUnseen(rebuild)) {
    for (const digest of removed) pending.takeBackNames(digest);
    await nextTurn();
    signal.throwIfAborted();
  }
}

/** Removes the rows of a repository, in steps: a repository of nightly builds has thousands. @returns their records. */
export async function removeRepository(
  { database, remover }: OpenView,
  pending: WriteBuffer,
  repositoryId: RepositoryId,
): Promise<readonly RecordKey[]> {
  const name = repositoryKey(repositoryId);
  const removed = [...pending.forgetRepository(name)];
  for (;;) {
    let some: readonly RecordKey[] = [];
    inTransaction(database, () => {
      some = remover.removeOfRepository(name);
    });
    if (some.length === 0) return distinctRecords(removed);
    removed.push(...some);
    await nextTurn();
  }
}
