import { setImmediate as nextTurn } from 'node:timers/promises';
import type {
  Clock,
  EvictableContent,
  EvictionPosition,
  Index,
  IndexedContent,
  Link,
  Observer,
  RecordKey,
  RepositoryId,
  Totals,
  Waiting,
} from '../mirror/ports.ts';
import type { Digest } from '../oci/digest.ts';
import { anyGlobMatcher } from '../oci/glob.ts';
import type { Tag } from '../oci/reference.ts';
import { Completion } from './completion.ts';
import { FreePages } from './free-pages.ts';
import { NoteFlusher } from './note-flusher.ts';
import { NoteWriter } from './note-writer.ts';
import {
  closeComplete,
  databaseSuffixes,
  type IndexFiles,
  inTransaction,
  openDatabase,
  type OpenedDatabase,
} from './open-database.ts';
import { type Depth, PendingNotes } from './pending-notes.ts';
import type { RebuildableIndex } from './rebuild.ts';
import { recordName } from './repository-name.ts';
import { RowRemover } from './row-remover.ts';
import type { StoreRuns } from './store-lock.ts';
import { ViewReader } from './view-reader.ts';

export interface SqliteIndexDeps {
  /** Of the file, on a local disk. */
  readonly path: string;
  readonly files: IndexFiles;
  readonly observer: Pick<Observer, 'trouble'>;
  readonly clock: Clock;
  /** Of the store that it is the view of: read when it starts. */
  readonly runs: StoreRuns;
  readonly maxPendingNotes?: number;
  /** Globs on `<upstream>/<repository>` whose content is never evicted. */
  readonly keep?: readonly string[];
}

/** Of 50 manifests of the largest kind, in about 10 MB. */
const maxPendingNames = 50_000;

interface OpenIndex extends OpenedDatabase {
  readonly reader: ViewReader;
  readonly remover: RowRemover;
}

/**
 * The view in one SQLite file, owned by one process. Notes wait in memory for a moment and are written together, a few at a time;
 * whoever asks sees every note taken before. Start it before whatever takes notes, and stop it after.
 */
export class SqliteIndex implements Index, RebuildableIndex {
  readonly name = 'index';
  readonly #deps: SqliteIndexDeps;
  readonly #pending = new PendingNotes({ maxNames: maxPendingNames });
  readonly #flusher: NoteFlusher;
  readonly #completion = new Completion();
  #opened: OpenIndex | undefined;

  constructor(deps: SqliteIndexDeps) {
    this.#deps = deps;
    const { observer, maxPendingNotes = 100_000 } = deps;
    this.#flusher = new NoteFlusher({ pending: this.#pending, observer, maxPending: maxPendingNotes });
  }

  /** @throws Error when another process uses the index, or none can be made. */
  async start(): Promise<void> {
    const { observer, clock, keep = [], ...place } = this.#deps;
    const isKept = anyGlobMatcher(keep);
    const onBroken = (cause: unknown): void => observer.trouble({ part: 'index', cause });
    const opened = await openDatabase({ ...place, keep, isKept, onBroken, nowMs: clock.now() });
    this.#opened = { ...opened, reader: new ViewReader(opened), remover: new RowRemover(opened) };
    const pages = new FreePages(opened);
    this.#flusher.start({
      database: opened.database,
      writer: new NoteWriter({ ...opened, isKept }),
      shrink: () => pages.giveBackSome(),
    });
    if (opened.isComplete) this.#complete();
  }

  /**
   * The next start is spared a rebuild, if the view is complete and the disk took all of it.
   * @param options.othersEnded false where something may still be put into the store that the view would not know of.
   */
  async stop({ othersEnded }: { readonly othersEnded: boolean } = { othersEnded: true }): Promise<void> {
    const hasAllNotes = await this.#flusher.stop();
    const database = this.#opened?.database;
    this.#opened = undefined;
    if (database && othersEnded && hasAllNotes && this.#completion.isReached) closeComplete(database);
    else database?.close();
  }

  get needsRebuild(): boolean {
    return !this.#completion.isReached;
  }

  settled(): Promise<void> {
    return this.#flusher.settle();
  }

  async completeRebuild({ signal }: Waiting): Promise<void> {
    await this.#flusher.settle();
    const { remover, rebuild } = this.#open();
    for (const removed of remover.removeUnseen(rebuild)) {
      for (const digest of removed) this.#pending.takeBackNames(digest);
      await nextTurn();
      signal.throwIfAborted();
    }
    await this.#flusher.settle();
    this.#complete();
  }

  async isComplete(): Promise<boolean> {
    return this.#completion.isReached;
  }

  whenComplete({ signal }: Waiting): Promise<void> {
    return this.#completion.wait(signal);
  }

  noteContent(content: IndexedContent): void {
    this.#pending.addContent(content);
    this.#flusher.noted();
  }

  noteUse(digest: Digest, atMs: number): void {
    this.#pending.addUse(digest, atMs);
    this.#flusher.noted();
  }

  noteLink(link: Link): void {
    this.#pending.addLink(link);
    this.#flusher.noted();
  }

  noteTag(of: RepositoryId, tag: Tag, digest: Digest): void {
    this.#pending.addTag({ of, tag, digest, source: 'mirror' });
    this.#flusher.noted();
  }

  noteStoredTag(of: RepositoryId, tag: Tag, digest: Digest): void {
    this.#pending.addTag({ of, tag, digest, source: 'store' });
    this.#flusher.noted();
  }

  forgetTag(of: RepositoryId, tag: Tag): void {
    this.#pending.addTag({ of, tag, digest: undefined, source: 'mirror' });
    this.#flusher.noted();
  }

  async borrowableLinks(of: RepositoryId, digest: Digest, kind: Link['kind']): Promise<readonly Link[]> {
    const reader = await this.#reader('things');
    return reader.borrowableLinks(of, digest, { kind, parents: this.#pending.parentsOf(digest) });
  }

  async hasContent(digest: Digest): Promise<boolean> {
    return (await this.#reader('things')).hasContent(digest);
  }

  async repositories({ last, limit }: { last: string | undefined; limit: number }): Promise<readonly string[]> {
    return (await this.#reader('things')).repositories(last, limit);
  }

  async totals(): Promise<Totals> {
    return (await this.#reader('things')).totals();
  }

  async isNeeded(key: RecordKey): Promise<boolean> {
    return (await this.#reader('things')).isNeeded(key);
  }

  async fileBytes(): Promise<number> {
    const { path, files } = this.#deps;
    const sizes = await Promise.all(databaseSuffixes.map((suffix) => files.size(`${path}${suffix}`)));
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  async watchingSinceMs(): Promise<number> {
    return this.#open().watchingSinceMs;
  }

  async evictable({
    limit,
    after,
  }: {
    limit: number;
    after?: EvictionPosition | undefined;
  }): Promise<readonly EvictableContent[]> {
    const reader = await this.#reader('evictions');
    const found: EvictableContent[] = [];
    for (let from = after; found.length < limit; ) {
      const page = reader.evictable(limit, from);
      found.push(...page.filter(({ digest }) => !this.#pending.isNamed(digest)));
      from = page.at(-1);
      if (page.length < limit) break;
      if (found.length < limit) await nextTurn();
    }
    return found.slice(0, limit);
  }

  /** At once: what is noted of the digest afterwards stays. */
  async forget(digest: Digest): Promise<readonly RecordKey[]> {
    const { database, remover } = this.#open();
    let stored: readonly RecordKey[] = [];
    inTransaction(database, () => {
      stored = remover.remove(digest).filter((key) => key.kind !== 'tag' || !this.#pending.hasTag(key));
    });
    const keys = [...this.#pending.forget(digest), ...stored];
    this.#pending.takeBackNames(digest);
    this.#flusher.noted();
    return [...new Map(keys.map((key) => [recordName(key), key])).values()];
  }

  #complete(): void {
    this.#pending.endRebuild();
    this.#completion.reach();
  }

  /** Names are not waited for: they are looked up where they wait. */
  async #reader(depth: Exclude<Depth, 'all'>): Promise<ViewReader> {
    await this.#flusher.settle(depth);
    return this.#open().reader;
  }

  #open(): OpenIndex {
    if (!this.#opened) throw new Error('the index is not open');
    return this.#opened;
  }
}
