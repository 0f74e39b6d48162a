import { DamagedRowError } from './rows.ts';

/** SQLITE_CORRUPT and SQLITE_NOTADB (sqlite.org/rescode.html). */
const damaged: ReadonlySet<number> = new Set([11, 26]);
/** SQLITE_IOERR_READ, _SHORT_READ, _CORRUPTFS and _DATA. Of the others a disk that takes nothing is the likelier cause. */
const unreadable: ReadonlySet<number> = new Set([266, 522, 8458, 8202]);

/** Whether an error says that the index's file is not what was written into it: no statement on it can be trusted from then on. */
export function isDamage(error: unknown): boolean {
  if (error instanceof DamagedRowError) return true;
  if (!(error instanceof Error && 'errcode' in error && typeof error.errcode === 'number')) return false;
  return damaged.has(error.errcode & 0xff) || unreadable.has(error.errcode);
}
