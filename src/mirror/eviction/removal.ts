import type { Digest } from '../../oci/digest.ts';
import type { RecordKey, RecordStore } from '../ports/record-store.ts';
import type { Index } from '../ports/store-index.ts';

/** How many records are removed at the same time: a base layer, or a repository of nightly builds, may have thousands. */
const removedTogether = 16;

/** What pulls keep while something is being removed. The removal may take it from the index and the disk. */
export interface KeptMeanwhile {
  /** What is kept from now on is newer than this mark. */
  mark(): number;
  /** Forgets the tags among these records, at once if they are not very many: those that are recorded again afterwards stay. */
  dropTags(records: readonly RecordKey[]): Promise<void>;
  /** Writes again what was kept since the mark and has one of these records, or a digest of theirs. */
  storeAgain(records: readonly RecordKey[], since: number): void;
}

/** What is in memory of something that is removed. */
export interface MemoryOfRemoved {
  /** Removes evicted content and records from the caches in memory, but not what was kept since the mark. */
  readonly onEvicted: (records: readonly RecordKey[], digest: Digest | undefined, since: number) => void;
  /** Absent: nothing is pulled meanwhile. */
  readonly kept?: KeptMeanwhile | undefined;
}

export interface RemovalSteps {
  /** Undefined for the records of a repository. */
  readonly digest?: Digest;
  /** Drops it from the index. @returns its records; undefined if the index cannot: then no step follows. */
  readonly forget: () => Promise<readonly RecordKey[] | undefined>;
  /** Removes it from the disk. @returns whether it is gone. */
  readonly remove: (records: readonly RecordKey[]) => Promise<boolean>;
}

/**
 * Removes from the index, from memory, from the disk, and from memory again: a pull may have read some records before they were removed. In
 * the end what pulls have kept meanwhile is written again.
 * @returns its records; undefined if it is not gone.
 * @throws what a step throws.
 */
export async function removeEverywhere(
  { onEvicted, kept }: MemoryOfRemoved,
  { digest, forget, remove }: RemovalSteps,
): Promise<readonly RecordKey[] | undefined> {
  const since = kept?.mark() ?? 0;
  const keys = await forget();
  if (!keys) return undefined;
  await kept?.dropTags(keys);
  onEvicted(keys, digest, since);
  try {
    if (!(await remove(keys))) return undefined;
    onEvicted(keys, digest, since);
    return keys;
  } finally {
    kept?.storeAgain(keys, since);
  }
}

/** Some records could not be removed. The cause is that of the first. */
export class RecordsLeft extends Error {
  override readonly name = 'RecordsLeft';
  readonly records: readonly RecordKey[];

  constructor(records: readonly RecordKey[], cause: unknown) {
    super(`${records.length} records could not be removed`, { cause });
    this.records = records;
  }
}

/** Removes records, a few at a time, also those after one that cannot be removed. @throws RecordsLeft */
export async function removeRecords(
  keys: readonly RecordKey[],
  { from }: { readonly from: Pick<RecordStore, 'remove'> },
): Promise<void> {
  const left: { readonly key: RecordKey; readonly cause: unknown }[] = [];
  for (let at = 0; at < keys.length; at += removedTogether) {
    const some = keys.slice(at, at + removedTogether);
    await Promise.all(some.map((key) => from.remove(key).catch((cause: unknown) => void left.push({ key, cause }))));
  }
  if (left.length === 0) return;
  throw new RecordsLeft(
    left.map(({ key }) => key),
    left[0]?.cause,
  );
}

/**
 * Links again, in the index, what the disk did not unlink: else it could be served, and not be named by a purge or an eviction. Records of
 * tags are removed later by TagRecords.
 */
export function linkAgain(cause: unknown, { index }: { readonly index: Pick<Index, 'recordLink'> }): void {
  if (!(cause instanceof RecordsLeft)) return;
  for (const key of cause.records) {
    if (!('digest' in key)) continue;
    const { kind, ...link } = key;
    if (kind !== 'referrers') index.recordLink({ ...link, kind, mediaType: undefined, size: undefined });
  }
}
