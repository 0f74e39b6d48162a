import { dirname, join } from 'node:path';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { RecordKey } from '../../mirror/ports/record-store.ts';
import type { Digest } from '../../oci/digest.ts';
import { blobPath, changesFolder, recordPath } from '../layout.ts';
import type { DurableFolders } from './durable-folders.ts';
import { entriesIn, type FileSystem, type OpenFile } from './file-system.ts';
import {
  type ChangedThings,
  type Epoch,
  type EpochName,
  epochNamed,
  linesIn,
  newEpoch,
  pathOfEpoch,
  thingsAt,
} from './journal-epochs.ts';

/** Content by its digest, or a record. */
export type StoredThing = Digest | RecordKey;

/** A change that is about to be made. Disposed once it is made, or has failed. */
export interface BegunChange extends Disposable {
  /** Resolves when the change is noted on the disk: from then on it may be made. @throws the disk's error: then it must not be made. */
  readonly noted: Promise<void>;
}

/** Begins to note a change, when it is due; undefined where changes are not noted. */
export type BeginChange = (() => BegunChange) | undefined;

export interface ChangeJournalDeps {
  /** The storage path, absolute. */
  readonly path: string;
  readonly files: FileSystem;
  readonly folders: Pick<DurableFolders, 'make' | 'sync' | 'syncNearest' | 'remove'>;
  readonly clock: Pick<Clock, 'now' | 'monotonicMs'>;
  readonly observer: Pick<Observer, 'internalError'>;
  /** Resolves when this process may write to the store. @throws when it may not. */
  readonly hold: () => Promise<void>;
}

/** Beyond this a rebuild is as quick. About 30 MB in a file, and in memory. */
const maxNotes = 200_000;
/** Between a change of the store and its write to an index pass a few turns of the event loop; removing many records takes seconds. */
const toldWithinMs = 15_000;

/**
 * What is about to change in the store: every path is noted here, on the disk, before a file becomes visible or goes. An index that knows
 * everything up to an epoch of the journal looks at the paths noted since, and need not look at the rest of the store.
 *
 * A file for each epoch, `changes/<previous epoch>-<epoch>`, with a path on each line. A line that was cut by a crash is of a change that
 * had not begun.
 */
export class ChangeJournal {
  readonly name = 'journal of changes';
  readonly #deps: ChangeJournalDeps;
  /** In order; the last is the one that notes are added to. */
  #epochs: Epoch[] = [];
  /** Those on the disk, also of earlier processes. */
  #names: EpochName[] = [];
  #settling: Promise<void> | undefined;

  constructor(deps: ChangeJournalDeps) {
    this.#deps = deps;
  }

  /** Begins an epoch. If the disk accepts no writes now, that is reported, and changes are not noted until {@link rotate} succeeds. */
  async start(): Promise<void> {
    const { files, path, observer } = this.#deps;
    try {
      const names = entriesIn(files, join(path, changesFolder));
      for await (const { name } of names) this.#names.push(...epochNamed(name));
      this.#names.sort((one, other) => one.number - other.number);
    } catch (cause) {
      observer.internalError({ part: 'journal of changes', cause });
    }
    await this.#begin();
  }

  async stop(): Promise<void> {
    for (const epoch of this.#epochs.splice(0)) {
      await epoch.next?.catch(() => {});
      await epoch.writing.catch(() => {});
      await epoch.file?.close();
    }
  }

  /** The epoch that notes are added to. */
  get current(): number {
    return this.#current.number;
  }

  /** Whether changes were noted that a later epoch does not make superfluous. */
  get hasNotes(): boolean {
    return this.#epochs.length > 1 || this.#current.notes.size > 0;
  }

  /**
   * What changed since an epoch began, before this process started.
   * @returns undefined if that is not known: something may have changed anywhere.
   */
  async changedSince(first: number): Promise<ChangedThings | undefined> {
    const names = this.#names.filter(({ number }) => number >= first && number < this.current);
    const isChain = names.every(({ previous }, at) => at === 0 || previous === names[at - 1]?.number);
    if (names[0]?.number !== first || !isChain) return undefined;
    const { path, files } = this.#deps;
    const paths = new Set<string>();
    try {
      for (const name of names) for (const line of await linesIn(join(path, pathOfEpoch(name)), files)) paths.add(line);
    } catch (cause) {
      this.#deps.observer.internalError({ part: 'journal of changes', cause });
      return undefined;
    }
    if (paths.size > maxNotes) return undefined;
    const removedFrom = new Set([...paths].map((one) => this.#folderOf(one)));
    this.#epochs.unshift({ ...newEpoch(first), removedFrom, endedAtMs: -Infinity });
    return thingsAt(paths);
  }

  /** Notes that something is about to be stored or removed. */
  begin(...things: readonly StoredThing[]): BegunChange {
    const epoch = this.#current;
    epoch.running += 1;
    let isOver = false;
    return {
      noted: this.#note(epoch, things.map(pathOf)),
      [Symbol.dispose]: () => {
        if (isOver) return;
        isOver = true;
        epoch.running -= 1;
        epoch.madeAtMs = this.#deps.clock.monotonicMs();
      },
    };
  }

  /** Likewise, that something is about to be removed: it is noted until power loss cannot bring it back. */
  beginRemoval(...things: readonly StoredThing[]): BegunChange {
    for (const thing of things) this.#current.removedFrom.add(this.#folderOf(pathOf(thing)));
    return this.begin(...things);
  }

  /** Begins a new epoch, if anything was noted in this one. What was removed in those before is synced meanwhile. */
  async rotate(): Promise<void> {
    const report = (cause: unknown) => this.#deps.observer.internalError({ part: 'journal of changes', cause });
    this.#settling ??= this.#settleThose((epoch) => epoch !== this.#current)
      .catch(report)
      .finally(() => {
        this.#settling = undefined;
      });
    if (this.#current.notes.size > 0 || !this.#current.file) await this.#begin();
  }

  /** Resolves when power loss cannot bring back what was removed. @throws the disk's error */
  async settle(): Promise<void> {
    await this.#settling;
    await this.#settleThose(() => true);
  }

  /** The first epoch with changes that an index may not have been told of. */
  get oldestNeeded(): number {
    const beforeMs = this.#deps.clock.monotonicMs() - toldWithinMs;
    const needed = this.#epochs.find(
      ({ running, removedFrom, madeAtMs, endedAtMs }) =>
        running > 0 || removedFrom.size > 0 || Math.max(madeAtMs, endedAtMs) > beforeMs,
    );
    return (needed ?? this.#current).number;
  }

  /** Removes the epochs before `number`. */
  async dropBefore(number: number): Promise<void> {
    const dropped = this.#epochs.filter((epoch) => epoch.number < number);
    this.#epochs = this.#epochs.filter((epoch) => epoch.number >= number);
    for (const { file } of dropped) await file?.close();
    for (const name of this.#names.filter((one) => one.number < number)) await this.#remove(name);
  }

  get #current(): Epoch {
    const epoch = this.#epochs.at(-1);
    if (!epoch) throw new Error('the journal of changes is not open');
    return epoch;
  }

  /**
   * Numbers are not used again: an index that names an epoch of a journal that was removed must not find another. An epoch that has no file
   * is a previous one too: what was changed in it is not known.
   */
  async #begin(): Promise<void> {
    const { path, files, folders, clock, observer, hold } = this.#deps;
    const previous = Math.max(this.#names.at(-1)?.number ?? 0, this.#epochs.at(-1)?.number ?? 0);
    const name = { previous, number: Math.max(previous + 1, clock.now()) };
    let file: OpenFile | undefined;
    try {
      await hold();
      await folders.make(join(path, changesFolder));
      file = await files.open(join(path, pathOfEpoch(name)), 'create');
      await folders.sync(join(path, changesFolder));
      this.#names.push(name);
    } catch (cause) {
      if (this.#epochs.length === 0 || this.#epochs.at(-1)?.file)
        observer.internalError({ part: 'journal of changes', cause });
      await file?.close();
      file = undefined;
    }
    const last = this.#epochs.at(-1);
    if (last) last.endedAtMs = clock.monotonicMs();
    this.#epochs.push({ ...newEpoch(name.number), file });
  }

  async #settleThose(which: (epoch: Epoch) => boolean): Promise<void> {
    for (const epoch of this.#epochs.filter((one) => which(one) && one.running === 0)) {
      for (const folder of epoch.removedFrom) {
        if (!this.#epochs.includes(epoch)) return; // Stopped.
        await this.#deps.folders.syncNearest(folder);
        epoch.removedFrom.delete(folder);
      }
    }
  }

  #folderOf(path: string): string {
    return dirname(join(this.#deps.path, path));
  }

  /** A path that was noted in this epoch is not noted again. */
  async #note(epoch: Epoch, paths: readonly string[]): Promise<void> {
    if (!epoch.file) return;
    const fresh = paths.filter((path) => !epoch.notes.has(path));
    if (fresh.length > 0) {
      for (const path of fresh) epoch.unwritten.push(path);
      epoch.next ??= epoch.writing.catch(() => {}).then(() => this.#write(epoch));
      for (const path of fresh) epoch.notes.set(path, epoch.next);
    }
    await Promise.all(paths.flatMap((path) => epoch.notes.get(path) ?? []));
  }

  /** Writes what was noted since the last write began, and syncs it once. */
  async #write(epoch: Epoch): Promise<void> {
    epoch.writing = epoch.next ?? epoch.writing;
    epoch.next = undefined;
    const bytes = Buffer.from(`${epoch.unwritten.splice(0).join('\n')}\n`);
    try {
      if (this.#epochs.reduce((sum, { notes }) => sum + notes.size, 0) > maxNotes)
        throw new Error(`more than ${maxNotes} changes are not in the index`);
      for (let rest = bytes; epoch.file && rest.length > 0; ) {
        const written = await epoch.file.write([rest], epoch.position);
        if (written === 0) throw new Error('a write returned 0 bytes');
        epoch.position += written;
        rest = rest.subarray(written);
      }
      await epoch.file?.sync();
    } catch (cause) {
      await this.#giveUp(cause);
    }
  }

  /** Changes go on without being noted: on a full disk too, something must be removed. So no start may rely on the journal. @throws the disk's error */
  async #giveUp(cause: unknown): Promise<void> {
    this.#deps.observer.internalError({ part: 'journal of changes', cause });
    for (const name of this.#names.toReversed()) await this.#remove(name);
    await this.#deps.folders.sync(join(this.#deps.path, changesFolder));
    for (const epoch of this.#epochs) {
      await epoch.file?.close();
      epoch.file = undefined;
    }
  }

  async #remove(name: EpochName): Promise<void> {
    await this.#deps.folders.remove(join(this.#deps.path, pathOfEpoch(name)));
    this.#names = this.#names.filter((one) => one !== name);
  }
}

function pathOf(thing: StoredThing): string {
  return typeof thing === 'string' ? blobPath(thing) : recordPath(thing);
}
