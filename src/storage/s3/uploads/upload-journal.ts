import { appendFile, readFile, rename, writeFile } from 'node:fs/promises';
import type { Observer } from '../../../mirror/ports/observer.ts';
import type { RecordKey } from '../../../mirror/ports/record-store.ts';
import { recordKeyAt, recordPath } from '../../layout.ts';

export interface UploadJournalDeps {
  /** The file. */
  readonly path: string;
  readonly observer: Pick<Observer, 'internalError'>;
  /** What is not uploaded yet: written down when the file is made anew. */
  readonly pending: () => Iterable<RecordKey>;
}

/** The file is made anew after so many lines: it stays below about 5 MB. */
const maxLines = 20_000;

/**
 * Which uploads are due, in a file that outlives the process: a line for each that is, and another for each that no longer is. Lines are appended
 * in the background and not synced: a power loss may cost some uploads, and nothing else. A disk that takes no lines costs no more than that.
 */
export class UploadJournal {
  readonly #deps: UploadJournalDeps;
  #unwritten: string[] = [];
  #lines = 0;
  #writing: Promise<void> | undefined;

  constructor(deps: UploadJournalDeps) {
    this.#deps = deps;
  }

  /** What earlier processes have left, in order; nothing if the file cannot be read. */
  async load(): Promise<readonly RecordKey[]> {
    const due = new Map<string, RecordKey>();
    for (const line of (await this.#text()).split('\n')) {
      const path = line.slice(2);
      const key = recordKeyAt(path);
      if (line.startsWith('-')) due.delete(path);
      else if (key) due.set(path, key);
    }
    this.#lines = maxLines; // The first write makes the file anew.
    return [...due.values()];
  }

  due(key: RecordKey): void {
    this.#append(`+ ${recordPath(key)}\n`);
  }

  done(key: RecordKey): void {
    this.#append(`- ${recordPath(key)}\n`);
  }

  /** Resolves when everything is written, or could not be. */
  async flushed(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  #append(line: string): void {
    if (this.#unwritten.length < maxLines) this.#unwritten.push(line);
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#unwritten.length > 0) this.#append('');
    });
  }

  async #write(): Promise<void> {
    await Promise.resolve(); // What is appended in the same turn is written together.
    const lines = this.#unwritten;
    this.#unwritten = [];
    try {
      if (this.#lines + lines.length > maxLines) await this.#makeAnew();
      else await appendFile(this.#deps.path, lines.join(''));
      this.#lines += lines.length;
    } catch (cause) {
      this.#deps.observer.internalError({ part: 'upload journal', cause });
    }
  }

  async #makeAnew(): Promise<void> {
    const { path, pending } = this.#deps;
    const lines = Array.from(pending(), (key) => `+ ${recordPath(key)}\n`);
    await writeFile(`${path}.new`, lines.join(''));
    await rename(`${path}.new`, path);
    this.#lines = lines.length;
  }

  async #text(): Promise<string> {
    try {
      return await readFile(this.#deps.path, 'utf8');
    } catch (cause) {
      const isMissing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
      if (!isMissing) this.#deps.observer.internalError({ part: 'upload journal', cause });
      return '';
    }
  }
}
