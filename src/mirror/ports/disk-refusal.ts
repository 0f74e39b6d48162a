/** No space or no inodes, a quota that is used up, mounted read-only. */
const refusals: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EROFS']);

/**
 * Whether a disk takes nothing just now, and may again without anybody touching the mirror: then what it holds is served, and nothing is
 * added. Everything else that it says to a start (EACCES, ENOTDIR …) is a mistake of whoever set the mirror up, who has to hear of it.
 */
export function refusesForNow(error: unknown): boolean {
  return error instanceof Error && 'code' in error && refusals.has(error.code);
}
