import type { RecordKey, RecordStore } from '../ports/record-store.ts';

/** Records that are removed at the same time: of a base layer, or in a repository of nightly builds, there may be thousands. */
const removedTogether = 16;

/** Removes records, a few at a time. @throws what the disk says to the first that it does not let go. */
export async function removeRecords(
  keys: readonly RecordKey[],
  { from }: { readonly from: Pick<RecordStore, 'remove'> },
): Promise<void> {
  for (let at = 0; at < keys.length; at += removedTogether) {
    await Promise.all(keys.slice(at, at + removedTogether).map((key) => from.remove(key)));
  }
}
