import type { RecordKey, RecordStore } from '../ports/record-store.ts';

/** How many records are removed at the same time: a base layer, or a repository of nightly builds, may have thousands. */
const removedTogether = 16;

/** Removes records, a few at a time. @throws the file system's error for the first record that cannot be removed. */
export async function removeRecords(
  keys: readonly RecordKey[],
  { from }: { readonly from: Pick<RecordStore, 'remove'> },
): Promise<void> {
  for (let at = 0; at < keys.length; at += removedTogether) {
    await Promise.all(keys.slice(at, at + removedTogether).map((key) => from.remove(key)));
  }
}
