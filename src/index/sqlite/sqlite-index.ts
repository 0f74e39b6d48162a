import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer, StoreObserver } from '../../mirror/ports/observer.ts';
import type { RecordKey } from '../../mirror/ports/record-store.ts';
import type { RepositoryId } from '../../mirror/ports/repository-id.ts';
import type {
  Catalogue,
  CatalogueLists,
  ContentDetails,
  EvictableContent,
  EvictableOptions,
  Index,
  Link,
  StaleRepository,
  Totals,
} from '../../mirror/ports/store-index.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Digest } from '../../oci/digest.ts';
import { Completion } from '../../mirror/concurrency/abortable-wait.ts';
import { isDamage } from './rows.ts';
import { BufferedIndex, BufferFlusher } from './buffer-flusher.ts';
import { closeForGood, type IndexFiles, openDatabase, replaceDatabase, type StoreRuns } from './open-database.ts';
import { openView, type OpenView, type OpenViewOptions } from './open-view.ts';
import { databaseBytes } from './view-reader.ts';
import type { ChangedThings, StoreChanges } from '../look-again.ts';
import type { LosableIndex } from '../rebuilder.ts';
import { evictableOf, removeContent, removeMissing, removeRepository, removeUnseen, type Steps } from './view-steps.ts';
import { startSaving, type ViewSaver } from './view-saver.ts';

export interface SqliteIndexDeps {
  /** Path of the file, on a local disk. */
  readonly path: string;
  readonly files: IndexFiles;
  readonly observer: Pick<Observer, 'internalError'> & Pick<StoreObserver, 'indexAnswered'>;
  readonly clock: Clock;
  /** The runs of the store, read at start. */
  readonly runs: StoreRuns;
  /** What is about to change in the store. Absent: after a crash the index is rebuilt. */
  readonly changes?: StoreChanges | undefined;
  readonly maxBufferedWrites?: number;
  /** Globs on `<upstream>/<repository>` whose content is never evicted. */
  readonly keep?: readonly string[];
}

/**
 * The index in one SQLite file, owned by one process. Writes are buffered in memory for a moment and applied together, a few at a time;
 * a query sees every write before it. Start it before the parts that write to it, and stop it after them.
 */
export class SqliteIndex extends BufferedIndex implements Index, Catalogue, CatalogueLists, LosableIndex {
  readonly name = 'index';
  readonly #deps: SqliteIndexDeps;
  readonly #flusher: BufferFlusher;
  readonly #completion = new Completion();
  readonly #counting = new Completion();
  readonly #loss = new Completion();
  #lossReason = 'it is new, or was not complete when it was closed';
  #isLostSinceRebuildBegan = false;
  #opened: OpenView | undefined;
  #saver: ViewSaver | undefined;
  changed: ChangedThings | undefined;
  #replacing: Promise<void> | undefined;

  constructor(deps: SqliteIndexDeps) {
    super();
    this.#deps = deps;
    const { observer, maxBufferedWrites = 100_000 } = deps;
    this.#flusher = new BufferFlusher({
      pending: this.pending,
      observer,
      maxPending: maxBufferedWrites,
      onManyWritten: () => this.#saver?.saveIfLong(),
      onDamaged: (cause) => this.#lose(cause),
    });
  }

  /** @throws Error when another process uses the index, or none can be created. */
  async start(): Promise<void> {
    this.#use(await openView(this.#viewOptions(), openDatabase));
  }

  /**
   * Marks the index as complete if it is, and the disk took every write: the next start then needs no rebuild.
   * @param options.othersEnded false if something may still be written to the store without the index.
   */
  async stop({ othersEnded }: { readonly othersEnded: boolean } = { othersEnded: true }): Promise<void> {
    await this.#replacing;
    const isSettled = (await this.#saver?.stop()) ?? true;
    const hasAllWrites = (await this.#flusher.stop()) && isSettled;
    const database = this.#opened?.database;
    this.#opened = undefined;
    if (database && othersEnded && hasAllWrites) closeForGood(database, { isComplete: this.#completion.isReached });
    else database?.close();
    await this.#saver?.close();
  }

  get needsRebuild(): boolean {
    return !this.#completion.isReached;
  }
  get lossReason(): string {
    return this.changed ? 'its process ended without closing it' : this.#lossReason;
  }
  whenLost = ({ signal }: Waiting): Promise<void> => this.#loss.wait(signal);
  settled = (): Promise<void> => this.#flusher.settle();
  isCounted = async (): Promise<boolean> => this.#counting.isReached && !this.#flusher.isBehind;
  whenCounted = ({ signal }: Waiting): Promise<void> => this.#counting.wait(signal);

  beginRebuild(): void {
    this.#isLostSinceRebuildBegan = false;
  }

  async endCounting(): Promise<void> {
    await this.#flusher.settle('rows');
    if (!this.#isLostSinceRebuildBegan) this.#counting.reach();
  }

  /** @throws Error when the file was damaged during the rebuild. */
  async completeRebuild({ signal }: Waiting): Promise<void> {
    await this.#flusher.settle();
    await this.#change((view) => removeUnseen(view, this.#steps, { signal }));
    await this.completeLookAgain();
  }

  /** @throws Error when the file was damaged meanwhile. */
  async completeLookAgain(): Promise<void> {
    await this.#flusher.settle();
    if (this.#isLostSinceRebuildBegan) throw new Error('the index was damaged while it was rebuilt');
    this.#complete();
    await this.#saver?.save();
  }

  forgetMissing = (digest: Digest): Promise<readonly RecordKey[]> =>
    this.#settled((view) => removeMissing(view, this.#steps, digest));

  forgetRecord = (key: RecordKey): Promise<void> =>
    this.#settled(({ remover, rebuild }) => remover.removeRecord(key, rebuild));

  isComplete = async (): Promise<boolean> => this.#completion.isReached;
  whenComplete = ({ signal }: Waiting): Promise<void> => this.#completion.wait(signal);

  /** Without `storage.keep` also during a rebuild: then of what it has seen. */
  knowsEvictable = async (): Promise<boolean> =>
    this.#completion.isReached || (this.#counting.isReached && !this.#deps.keep?.length);

  async borrowableLinks(repositoryId: RepositoryId, digest: Digest, kind: Link['kind']): Promise<readonly Link[]> {
    const parents = this.pending.parentsOf(digest);
    return this.#read(({ reader }) => reader.borrowableLinks(repositoryId, digest, { kind, parents }));
  }

  hasContent = async (digest: Digest): Promise<boolean> =>
    this.pending.contents.has(digest) || this.#read(({ reader }) => reader.hasContent(digest));
  repositories: Catalogue['repositories'] = ({ last, limit }) =>
    this.#read(({ reader }) => reader.repositories(last, limit));
  listRepositories: CatalogueLists['listRepositories'] = (asked) =>
    this.#read(({ lists }) => lists.repositories(asked));
  listTags: CatalogueLists['listTags'] = (query) => this.#read(({ lists }) => lists.tags(query));
  totals = (): Promise<Totals> => this.#read(({ reader }) => reader.totals());
  tags: Catalogue['tags'] = (of, page) => this.#read(({ reader }) => reader.tags(of, page));
  links: Catalogue['links'] = (of, page) => this.#read(({ reader }) => reader.links(of, page));

  async details(digest: Digest): Promise<ContentDetails> {
    await this.#flusher.settleForQuery();
    return this.#ask(({ reader }) => reader.details(digest));
  }

  isNeeded = (key: RecordKey): Promise<boolean> => this.#settled(({ reader }) => reader.isNeeded(key));

  fileBytes(): Promise<number> {
    return databaseBytes(this.#deps);
  }

  stalestRepository = (skip = 0): Promise<StaleRepository | undefined> =>
    this.#settled(({ reader }) => reader.stalestRepository(skip));

  watchingSinceMs(): Promise<number> {
    return this.#ask(({ watchingSinceMs }) => watchingSinceMs);
  }

  async evictable(options: EvictableOptions): Promise<readonly EvictableContent[]> {
    await this.#flusher.settle('evictions');
    return this.#ask((view) => evictableOf(view, this.#steps, options));
  }

  /** Removes many links in steps, then the rest at once. Content that is written afterwards stays. */
  async forget(digest: Digest): Promise<readonly RecordKey[]> {
    if (!this.#completion.isReached) this.evictedInRebuild.add(digest);
    const stored = await this.#change((view) => removeContent(view, this.#steps, digest));
    this.#flusher.writeBuffered();
    return stored;
  }

  forgetRepository = (repositoryId: RepositoryId): Promise<readonly RecordKey[]> =>
    this.#change((view) => removeRepository(view, this.#steps, repositoryId));

  #viewOptions(): OpenViewOptions {
    const { observer, clock, keep = [] } = this.#deps;
    const onBroken = (cause: unknown): void => observer.internalError({ part: 'index', cause });
    const epoch = () => this.#saver && this.#deps.changes?.current;
    return { ...this.#deps, keep, onBroken, epoch, nowMs: clock.now() };
  }

  #use(opened: OpenView): void {
    this.#opened = opened;
    this.changed = opened.changed;
    this.#flusher.start(opened.file);
    if (opened.changed) this.#counting.reach();
    if (opened.isComplete || opened.changed) this.#keepSaved(opened);
    if (opened.isComplete) this.#complete();
    else this.#loss.reach();
  }

  /** From here on power loss leaves the file sound. */
  #keepSaved({ database }: OpenView): void {
    const [pending, flusher] = [this.pending, this.#flusher];
    const isComplete = () => this.#completion.isReached;
    this.#saver ??= startSaving(database, { changes: undefined, ...this.#deps, pending, flusher, isComplete });
  }

  #complete(): void {
    this.changed = undefined;
    if (this.#opened) this.#keepSaved(this.#opened);
    this.evictedInRebuild.clear();
    this.pending.endRebuild();
    this.#counting.reach();
    this.#loss.reset();
    this.#completion.reach();
  }

  /** Waits for buffered writes except names, which are looked up in the buffer; not long for a disk that hangs. */
  async #read<Answer>(question: (view: OpenView) => Answer | Promise<Answer>): Promise<Answer> {
    await this.#flusher.settleForQuery('rows');
    return this.#ask(question);
  }

  /** Waits for them however long. */
  #settled<Answer>(step: (view: OpenView) => Answer | Promise<Answer>): Promise<Answer> {
    return this.#flusher.settle('rows').then(() => this.#change(step));
  }

  /** Waits until the file may be written to; not at all if it may be: what is buffered from now on stays. */
  async #change<Answer>(step: (view: OpenView) => Answer | Promise<Answer>): Promise<Answer> {
    if (this.#replacing) await this.#replacing;
    if (this.#flusher.isPaused) await this.#flusher.ready();
    return this.#ask(step);
  }

  /** Runs a query; once more on the new file, if this one is damaged. The new one says that it is incomplete. */
  async #ask<Answer>(question: (view: OpenView) => Answer | Promise<Answer>): Promise<Answer> {
    if (this.#replacing) await this.#replacing;
    const view = this.#open();
    try {
      return await question(view);
    } catch (cause) {
      if (isDamage(cause)) this.#lose(cause);
      if (!this.#replacing) throw cause;
      await this.#replacing;
      return question(this.#open());
    }
  }

  /** Discards a damaged file; the index is rebuilt while the mirror serves. Buffered writes are kept. */
  #lose(cause: unknown): void {
    const { observer } = this.#deps;
    const lost = this.#opened;
    if (!lost) return;
    observer.internalError({ part: 'index', cause });
    this.#opened = undefined;
    this.#lossReason = cause instanceof Error ? cause.message : String(cause);
    this.#isLostSinceRebuildBegan = true;
    this.changed = undefined;
    this.#saver?.abandon();
    this.#flusher.detach();
    this.pending.beginRebuild();
    this.#completion.reset();
    this.#counting.reset();
    this.#replacing = this.#replace(lost).finally(() => {
      this.#replacing = undefined;
    });
  }

  async #replace({ database }: OpenView): Promise<void> {
    try {
      database.close();
    } catch (cause) {
      this.#deps.observer.internalError({ part: 'index', cause });
    }
    await this.#saver?.close();
    this.#saver = undefined;
    this.#use(await openView(this.#viewOptions(), replaceDatabase));
  }

  protected written = (): void => this.#flusher.writeBuffered();
  get #steps(): Steps {
    return { pending: this.pending, flusher: this.#flusher, changes: this.#deps.changes };
  }

  #open(): OpenView {
    if (!this.#opened) throw new Error('the index is not open');
    return this.#opened;
  }
}
