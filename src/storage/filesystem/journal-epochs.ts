import type { RecordKey } from '../../mirror/ports/record-store.ts';
import type { Digest } from '../../oci/digest.ts';
import { changesFolder, digestAt, recordKeyAt } from '../layout.ts';
import { type FileSystem, type OpenFile, readUpTo } from './file-system.ts';

/** What may have changed in a store. */
export interface ChangedThings {
  readonly contents: readonly Digest[];
  readonly records: readonly RecordKey[];
}

/** What is noted between two saves of an index, in a file of its own. */
export interface Epoch {
  readonly number: number;
  /** Undefined if changes could not be noted: the next start cannot use the journal. */
  file: OpenFile | undefined;
  position: number;
  readonly notes: Map<string, Promise<void>>;
  readonly unwritten: string[];
  writing: Promise<void>;
  next: Promise<void> | undefined;
  /** The folders of what was removed, until they are synced. */
  readonly removedFrom: Set<string>;
  /** Changes that are being made. */
  running: number;
  /** When the last of them was made, or had failed. */
  madeAtMs: number;
  /** When the next epoch began. */
  endedAtMs: number;
}

export function newEpoch(number: number): Epoch {
  const nothing = { notes: new Map(), unwritten: [], removedFrom: new Set<string>(), writing: Promise.resolve() };
  return {
    ...nothing,
    number,
    file: undefined,
    position: 0,
    next: undefined,
    running: 0,
    madeAtMs: 0,
    endedAtMs: Infinity,
  };
}

export interface EpochName {
  readonly previous: number;
  readonly number: number;
}

export function pathOfEpoch({ previous, number }: EpochName): string {
  return `${changesFolder}/${previous}-${number}`;
}

export function epochNamed(name: string): readonly EpochName[] {
  const [, previous, number] = /^(\d{1,15})-(\d{1,15})$/.exec(name) ?? [];
  return number === undefined ? [] : [{ previous: Number(previous), number: Number(number) }];
}

/** Lines that the disk has made up in a power loss are no paths. */
export function thingsAt(paths: Iterable<string>): ChangedThings {
  const [contents, records]: [Digest[], RecordKey[]] = [[], []];
  for (const path of paths) {
    const [digest, key] = [digestAt(path), recordKeyAt(path)];
    if (digest) contents.push(digest);
    else if (key) records.push(key);
  }
  return { contents, records };
}

/** The lines of a file of the journal. One that was cut by a crash is of a change that had not begun. @throws the disk's error. */
export async function linesIn(path: string, files: Pick<FileSystem, 'open'>): Promise<readonly string[]> {
  const file = await files.open(path, 'read');
  try {
    const bytes = await readUpTo((await file.status()).size, file);
    return bytes.toString('latin1').split('\n').slice(0, -1);
  } finally {
    await file.close();
  }
}
