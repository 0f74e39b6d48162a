import { DamagedRowError } from './sqlite/rows.ts';

/** SQLITE_CORRUPT and SQLITE_NOTADB (sqlite.org/rescode.html). */
const damaged: ReadonlySet<number> = new Set([11, 26]);
/** SQLITE_IOERR_READ, _SHORT_READ, _CORRUPTFS and _DATA. The other I/O errors more likely mean that the disk refuses writes. */
const unreadable: ReadonlySet<number> = new Set([266, 522, 8458, 8202]);

/** Whether an error means that the index's file is damaged: the result of no statement can be trusted any more. */
export function isDamage(error: unknown): boolean {
  if (error instanceof DamagedRowError) return true;
  if (!(error instanceof Error && 'errcode' in error && typeof error.errcode === 'number')) return false;
  return damaged.has(error.errcode & 0xff) || unreadable.has(error.errcode);
}
