import { headerOf, isHeaded } from './desired-files.ts';

/** What is where a file belongs. */
export type Found =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'text'; readonly text: string }
  /** A folder, a symbolic link or the like. */
  | { readonly kind: 'other' };

/**
 * What to do about a file.
 *
 *     keep       it is as it should be
 *     write      there is none yet, or it was deleted
 *     repair     it is ours, and was changed
 *     take-over  it is another's: it is kept as a backup and replaced, because the operator said so
 *     replace    it is another release's: it is replaced, because the operator said so; there is nothing to keep
 *     refuse     it is another's, and stays
 */
export type WriteDecision = 'keep' | 'write' | 'repair' | 'take-over' | 'replace' | 'refuse';

/** Pure. */
export function writeDecision(
  found: Found,
  wanted: string,
  { owner, takeOver }: { readonly owner: string; readonly takeOver: boolean },
): WriteDecision {
  if (found.kind === 'nothing') return 'write';
  if (found.kind === 'other') return 'refuse';
  if (found.text === wanted) return 'keep';
  if (isOurs(found, owner)) return 'repair';
  if (!takeOver) return 'refuse';
  return isHeaded(found.text) ? 'replace' : 'take-over';
}

/**
 * What to do about a file that is no longer wanted.
 *
 *     restore  it is ours, and what it replaced comes back
 *     remove   it is ours
 *     leave    it is another's, or there is none
 */
export type RemoveDecision = 'restore' | 'remove' | 'leave';

/** If our file was deleted, its backup comes back as well. Pure. */
export function removeDecision(
  found: Found,
  { owner, hasBackup }: { readonly owner: string; readonly hasBackup: boolean },
): RemoveDecision {
  const isGone = found.kind === 'nothing';
  if (!isGone && !isOurs(found, owner)) return 'leave';
  if (hasBackup) return 'restore';
  return isGone ? 'leave' : 'remove';
}

/** Whether the first line says so. A file that another one replaced is not ours any more. */
export function isOurs(found: Found, owner: string): boolean {
  return found.kind === 'text' && found.text.startsWith(headerOf(owner));
}
