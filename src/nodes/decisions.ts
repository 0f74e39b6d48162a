import { headerOf, ownerIn } from './desired-files.ts';

/** What is where a file belongs. */
export type Found =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'text'; readonly text: string }
  /** A folder, a symbolic link or the like. */
  | { readonly kind: 'other' };

/** Whose files are written. */
export interface Ownership {
  readonly owner: string;
  /** Whether files that no release wrote are replaced, with a backup. */
  readonly takeOver: boolean;
  /** Releases that are gone: what they left is replaced. */
  readonly takeOverFrom: readonly string[];
}

/**
 * What to do about a file.
 *
 *     keep       it is as it should be
 *     write      there is none yet, or it was deleted
 *     repair     it is ours, and was changed
 *     take-over  it is another's: it is kept as a backup and replaced, because the operator said so
 *     replace    it is of a release that the operator named: it is replaced; there is nothing to keep
 *     refuse     it is another's, or of another release, and stays: two releases would replace each other's files again and again
 */
export type WriteDecision = 'keep' | 'write' | 'repair' | 'take-over' | 'replace' | 'refuse';

/** Pure. */
export function writeDecision(
  found: Found,
  wanted: string,
  { owner, takeOver, takeOverFrom }: Ownership,
): WriteDecision {
  if (found.kind === 'nothing') return 'write';
  if (found.kind === 'other') return 'refuse';
  if (found.text === wanted) return 'keep';
  if (isOurs(found, owner)) return 'repair';
  const release = ownerIn(found.text);
  if (release !== undefined) return takeOverFrom.includes(release) ? 'replace' : 'refuse';
  return takeOver ? 'take-over' : 'refuse';
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
