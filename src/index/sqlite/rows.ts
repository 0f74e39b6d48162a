import { type Digest, hexOf } from '../../oci/digest.ts';

/** One row of a query's result. */
export type Row = Readonly<Record<string, unknown>>;

/** A row that does not match the schema. */
export class DamagedRowError extends Error {
  override readonly name = 'DamagedRowError';
}

/** @throws DamagedRowError when the column is no text. */
export function textIn(row: Row, column: string): string {
  const value = row[column];
  if (typeof value === 'string') return value;
  throw new DamagedRowError(`the index holds no text in ${column}`);
}

/** @throws DamagedRowError when the column is no whole number. */
export function numberIn(row: Row, column: string): number {
  const value = row[column];
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  throw new DamagedRowError(`the index holds no whole number in ${column}`);
}

/** A digest as the table `names` stores it. */
export function digestBytes(digest: Digest): Uint8Array {
  return Buffer.from(hexOf(digest), 'hex');
}

/** SQLITE_CORRUPT and SQLITE_NOTADB (sqlite.org/rescode.html). */
const damaged: ReadonlySet<number> = new Set([11, 26]);
/** SQLITE_IOERR_READ, _SHORT_READ, _CORRUPTFS and _DATA. Other I/O errors usually mean that the disk refuses writes. */
const unreadable: ReadonlySet<number> = new Set([266, 522, 8458, 8202]);

/** Whether an error means that the index's file is damaged, so that no result can be trusted. */
export function isDamage(error: unknown): boolean {
  if (error instanceof DamagedRowError) return true;
  if (!(error instanceof Error && 'errcode' in error && typeof error.errcode === 'number')) return false;
  return damaged.has(error.errcode & 0xff) || unreadable.has(error.errcode);
}
