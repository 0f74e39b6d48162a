import { dirname, join } from 'node:path';
import { backupOf, changedCopyOf, type InstalledFiles } from './installed-files.ts';
import {
  emptyJournal,
  type FileFacts,
  type Journal,
  type JournalEntry,
  journalText,
  parseJournal,
  undoDecision,
  withoutFile,
  withWrite,
  writeDecision,
  type WriteDecision,
} from './journal.ts';
import type { ClientFile } from './kinds.ts';

/** What was done about a file. */
export interface FileOutcome {
  readonly path: string;
  /** `left`: it stays, since it was changed since, or what it replaced is lost. */
  readonly action: 'wrote' | 'kept' | 'restored' | 'removed' | 'refused' | 'left';
  readonly reason?: string;
  /** Where what was there before, or what was changed since, is kept. */
  readonly copy?: string;
}

const journalName = '.layerwell-client.json';

/** What `layerwell client` has installed in a folder. Only one process may work on it at a time. */
export class Installation {
  readonly #files: InstalledFiles;
  readonly #folder: string;

  constructor({ files, folder }: { readonly files: InstalledFiles; readonly folder: string }) {
    this.#files = files;
    this.#folder = folder;
  }

  /**
   * Writes the files, keeps what they replace, and takes back those that were installed and are not among them. If one is refused, nothing
   * is written.
   */
  async write(wanted: readonly ClientFile[], options: { readonly replaces: boolean }): Promise<readonly FileOutcome[]> {
    const journal = await this.#journal();
    const decided: { readonly file: ClientFile; readonly decision: WriteDecision }[] = [];
    for (const file of wanted) {
      const facts = await this.#facts(file.path, journal.files[file.path]);
      decided.push({ file, decision: writeDecision(facts, file, options) });
    }
    const refused = decided.flatMap(({ file: { path }, decision }): readonly FileOutcome[] =>
      decision.action === 'refuse' ? [{ path, action: 'refused', reason: decision.reason }] : [],
    );
    if (refused.length > 0) return refused;
    const outcomes: FileOutcome[] = [];
    let current = await this.#announced(journal, decided);
    for (const { file, decision } of decided) {
      outcomes.push(await this.#writeOne(file.path, decision));
      if (decision.action === 'write') current = settled(current, file.path, decision);
    }
    const paths = new Set(wanted.map(({ path }) => path));
    const unwanted = Object.keys(current.files).filter((path) => !paths.has(path));
    const removed = await this.#undoAll(current, unwanted, { force: false });
    return [...outcomes, ...removed.map(leftIfRefused)];
  }

  /** Takes back everything that was installed. If a file is refused, nothing is. */
  async undo({ force }: { readonly force: boolean }): Promise<readonly FileOutcome[]> {
    const journal = await this.#journal();
    const refused: FileOutcome[] = [];
    for (const [path, entry] of Object.entries(journal.files)) {
      const decision = undoDecision({ ...(await this.#facts(path, entry)), entry }, { force });
      if (decision.action === 'refuse') refused.push({ path, action: 'refused', reason: decision.reason });
    }
    return refused.length > 0 ? refused : this.#undoAll(journal, Object.keys(journal.files), { force });
  }

  /** The journal says what is going to be written before anything is, so that an interrupted write can be told from a change. */
  async #announced(
    journal: Journal,
    decided: readonly { readonly file: ClientFile; readonly decision: WriteDecision }[],
  ): Promise<Journal> {
    let announced = journal;
    for (const { file, decision } of decided) {
      if (decision.action !== 'write') continue;
      const made = await this.#files.missingFolders(dirname(file.path));
      announced = {
        ...withWrite(announced, file.path, decision),
        folders: [...new Set([...announced.folders, ...made])],
      };
    }
    if (announced !== journal) await this.#record(announced);
    return announced;
  }

  async #writeOne(path: string, decision: WriteDecision): Promise<FileOutcome> {
    if (decision.action !== 'write') return { path, action: 'kept' };
    await this.#files.makeFolder(dirname(path));
    const hadFile = decision.before !== null;
    if (hadFile) await this.#keep(path, decision.before);
    await this.#files.replace(path, decision.text);
    return { path, action: 'wrote', ...(hadFile && { copy: backupOf(path) }) };
  }

  /** @throws if somebody else has changed the file since it was read. */
  async #keep(path: string, sha256: string | null): Promise<void> {
    await this.#files.keep(path);
    const kept = await this.#files.find(backupOf(path));
    if (kept.kind === 'file' && kept.sha256 === sha256) return;
    await this.#files.remove(backupOf(path));
    throw new Error(`${path} was changed meanwhile: nothing was written to it, run the command again`);
  }

  async #undoAll(
    journal: Journal,
    paths: readonly string[],
    options: { readonly force: boolean },
  ): Promise<readonly FileOutcome[]> {
    const outcomes: FileOutcome[] = [];
    let current = journal;
    for (const path of paths) {
      const entry = current.files[path];
      if (entry === undefined) continue;
      const outcome = await this.#undoOne(path, entry, options);
      outcomes.push(outcome);
      if (outcome.action !== 'refused') current = withoutFile(current, path);
    }
    await this.#conclude(current);
    return outcomes;
  }

  async #undoOne(path: string, entry: JournalEntry, options: { readonly force: boolean }): Promise<FileOutcome> {
    const facts = await this.#facts(path, entry);
    const decision = undoDecision({ ...facts, entry }, options);
    if (decision.action === 'refuse') return { path, action: 'refused', reason: decision.reason };
    if (decision.action === 'forget') return { path, action: 'left', reason: decision.reason };
    const copy = changedCopyOf(path);
    const movesToCopy = 'movesToCopy' in decision && decision.movesToCopy;
    if (movesToCopy) await this.#files.move(path, copy, { replaces: false });
    if (decision.action === 'restore') await this.#files.move(backupOf(path), path, { replaces: true });
    if (decision.action === 'remove') await this.#files.remove(path);
    if (decision.action === 'done' && facts.backup.kind === 'file') await this.#files.remove(backupOf(path));
    const isThere = decision.action === 'restore' || (decision.action === 'done' && entry.before !== null);
    return { path, action: isThere ? 'restored' : 'removed', ...(movesToCopy && { copy }) };
  }

  /**
   * Removes the folders that were made and are empty, and the journal where nothing is installed any more: after the folders of registries,
   * an empty one of which would hide `_default`.
   */
  async #conclude(journal: Journal): Promise<void> {
    const isEmpty = Object.keys(journal.files).length === 0;
    const [below, others] = partitioned(journal.folders.toReversed(), (path) => path.startsWith(`${this.#folder}/`));
    for (const path of below) await this.#files.removeFolderIfEmpty(path);
    if (!isEmpty) return this.#record(journal);
    await this.#files.remove(this.#path);
    for (const path of others) await this.#files.removeFolderIfEmpty(path);
  }

  async #facts(path: string, entry: JournalEntry | undefined): Promise<FileFacts> {
    return { found: await this.#files.find(path), entry, backup: await this.#files.find(backupOf(path)) };
  }

  async #journal(): Promise<Journal> {
    const found = await this.#files.find(this.#path);
    if (found.kind === 'nothing') return emptyJournal;
    try {
      return parseJournal(found.kind === 'file' ? found.text : '');
    } catch (cause) {
      throw new Error(`${this.#path} cannot be read`, { cause });
    }
  }

  async #record(journal: Journal): Promise<void> {
    await this.#files.makeFolder(this.#folder);
    await this.#files.replace(this.#path, journalText(journal));
  }

  get #path(): string {
    return join(this.#folder, journalName);
  }
}

/** What was written before is no longer there. Pure. */
function settled(
  journal: Journal,
  path: string,
  decision: { readonly text: string; readonly before: string | null },
): Journal {
  return withWrite(withoutFile(journal, path), path, decision);
}

/** A file that is not wanted any more and was changed since. */
function leftIfRefused(outcome: FileOutcome): FileOutcome {
  return outcome.action === 'refused' ? { ...outcome, action: 'left' } : outcome;
}

function partitioned<Item>(
  items: readonly Item[],
  isFirst: (item: Item) => boolean,
): readonly [readonly Item[], readonly Item[]] {
  return [items.filter(isFirst), items.filter((item) => !isFirst(item))];
}
