import { type FoundFile, sha256Of } from './installed-files.ts';
import type { ClientFile } from './kinds.ts';
import { mergedInto } from './merge.ts';

/** What was done to a file, so that exactly that can be taken back. */
export interface JournalEntry {
  /** The SHA-256 of what was there before; null if nothing was. */
  readonly before: string | null;
  /** The SHA-256 of what was written; several while a write has not ended. */
  readonly written: readonly string[];
}

/** What is installed in a folder. It is written before the files are. */
export interface Journal {
  readonly files: Readonly<Record<string, JournalEntry>>;
  /** The folders that were made, the outermost first. */
  readonly folders: readonly string[];
}

export const emptyJournal: Journal = { files: {}, folders: [] };

/** What to do about a file that a client is to read. */
export type WriteDecision =
  | { readonly action: 'keep' }
  | { readonly action: 'write'; readonly text: string; readonly before: string | null }
  | { readonly action: 'refuse'; readonly reason: string };

/** What the decisions are made from. */
export interface FileFacts {
  readonly found: FoundFile;
  readonly entry: JournalEntry | undefined;
  readonly backup: FoundFile;
}

/** @param replaces whether a file that the text does not fit into is replaced. Pure. */
export function writeDecision(
  { found, entry, backup }: FileFacts,
  file: ClientFile,
  { replaces }: { readonly replaces: boolean },
): WriteDecision {
  if (found.kind === 'other') return refuse('it is a symbolic link or no ordinary file');
  const state = entry === undefined ? 'before' : stateOf({ found, entry, backup });
  const isReplaced = state === 'written' && entry !== undefined && entry.before !== null;
  if (isReplaced && shaOf(backup) !== entry.before) return refuse('its backup is missing or was changed');
  const base = state === 'written' ? (isReplaced ? textOf(backup) : undefined) : textOf(found);
  // What was replaced once is replaced again.
  const merged = textToWrite(base, file, { replaces: replaces || state === 'written' });
  if ('conflict' in merged) return refuse(merged.conflict);
  if (merged.text === textOf(found)) return { action: 'keep' };
  // Without the backup it was not written here, or cannot come back as it was.
  const isForgotten = entry !== undefined && hasNoBackup({ entry, backup });
  if (state === 'changed' && !isForgotten) return refuse('it was changed after it was written here');
  const before = state === 'written' ? (entry?.before ?? null) : shaOf(found);
  if (state === 'before' && backup.kind !== 'nothing' && shaOf(backup) !== before)
    return refuse('the backup of an earlier change is beside it');
  return { action: 'write', text: merged.text, before };
}

function textToWrite(base: string | undefined, file: ClientFile, { replaces }: { readonly replaces: boolean }) {
  const merged = mergedInto(base, file);
  return 'conflict' in merged && replaces ? mergedInto(undefined, file) : merged;
}

/**
 * How what was written is taken back.
 *
 *     done     the file is as it was before
 *     remove   there was none before
 *     restore  what was there comes back
 *     forget   it stays as it is, since what was there is lost
 */
export type UndoDecision =
  | { readonly action: 'done' | 'remove' }
  | { readonly action: 'restore' | 'remove'; readonly movesToCopy: boolean }
  | { readonly action: 'refuse' | 'forget'; readonly reason: string };

/** @param force whether a file that was changed since is moved to a copy. Pure. */
export function undoDecision(
  { found, entry, backup }: FileFacts & { readonly entry: JournalEntry },
  { force }: { readonly force: boolean },
): UndoDecision {
  if (found.kind === 'other') return refuse('it is a symbolic link or no ordinary file');
  const state = stateOf({ found, entry, backup });
  if (state === 'before') return { action: 'done' };
  if (state === 'changed' && !force) {
    return refuse(
      found.kind === 'nothing'
        ? 'it was removed after it was written here'
        : 'it was changed after it was written here',
    );
  }
  const lost = 'its backup is missing or was changed';
  if (force && hasNoBackup({ entry, backup })) return { action: 'forget', reason: lost };
  if (entry.before !== null && shaOf(backup) !== entry.before) return refuse(lost);
  const movesToCopy = state === 'changed' && found.kind === 'file';
  return { action: entry.before === null ? 'remove' : 'restore', movesToCopy };
}

function hasNoBackup({ entry, backup }: { readonly entry: JournalEntry; readonly backup: FoundFile }): boolean {
  return entry.before !== null && backup.kind === 'nothing';
}

/** A file that equals its backup was not written yet, or came back. */
function stateOf({
  found,
  entry,
  backup,
}: FileFacts & { readonly entry: JournalEntry }): 'before' | 'written' | 'changed' {
  const sha256 = shaOf(found);
  if (sha256 === entry.before || (sha256 !== null && sha256 === shaOf(backup))) return 'before';
  return sha256 !== null && entry.written.includes(sha256) ? 'written' : 'changed';
}

function shaOf(found: FoundFile): string | null {
  return found.kind === 'file' ? found.sha256 : null;
}

function textOf(found: FoundFile): string | undefined {
  return found.kind === 'file' ? found.text : undefined;
}

function refuse(reason: string): { readonly action: 'refuse'; readonly reason: string } {
  return { action: 'refuse', reason };
}

/** The journal with what will be written next to what was. Pure. */
export function withWrite(
  journal: Journal,
  path: string,
  { text, before }: { readonly text: string; readonly before: string | null },
): Journal {
  const written = [...new Set([...(journal.files[path]?.written ?? []), sha256Of(text)])];
  return { ...journal, files: { ...journal.files, [path]: { before, written } } };
}

/** Pure. */
export function withoutFile({ files, folders }: Journal, path: string): Journal {
  return { files: Object.fromEntries(Object.entries(files).filter(([one]) => one !== path)), folders };
}

/** @throws if the text is none that {@link journalText} made. */
export function parseJournal(text: string): Journal {
  const value: unknown = JSON.parse(text);
  if (!isRecord(value) || value['version'] !== 1 || !isRecord(value['files']) || !isTexts(value['folders']))
    throw new Error('it is not a journal of this version');
  const files = Object.entries(value['files']).map(([path, entry]): [string, JournalEntry] => {
    const { before, written } = isRecord(entry) ? entry : {};
    if ((before !== null && typeof before !== 'string') || !isTexts(written))
      throw new Error('it is not a journal of this version');
    return [path, { before, written }];
  });
  return { files: Object.fromEntries(files), folders: value['folders'] };
}

export function journalText(journal: Journal): string {
  return `${JSON.stringify({ version: 1, ...journal }, null, 2)}\n`;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}
