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
  IndexedContent,
  Link,
  StaleRepository,
  Totals,
} from '../../mirror/ports/store-index.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Tag } from '../../oci/reference.ts';
import { Completion } from '../../mirror/concurrency/abortable-wait.ts';
import { isDamage } from './rows.ts';
import { BufferFlusher } from './buffer-flusher.ts';
import { closeComplete, type IndexFiles, openDatabase, replaceDatabase, type StoreRuns } from './open-database.ts';
import { openView, type OpenView, type OpenViewOptions } from './open-view.ts';
import { databaseBytes } from './view-reader.ts';
import { WriteBuffer } from '../write-buffer.ts';
import type { LosableIndex } from '../rebuilder.ts';
import { evictableOf, removeContent, removeRepository, removeUnseen } from './view-steps.ts';

export interface SqliteIndexDeps {
  /** Path of the file, on a local disk. */
  readonly path: string;
  readonly files: IndexFiles;
  readonly observer: Pick<Observer, 'internalError'> & Pick<StoreObserver, 'indexAnswered'>;
  readonly clock: Clock;
  /** The runs of the store, read at start. */
  readonly runs: StoreRuns;
  readonly maxBufferedWrites?: number;
  /** Globs on `<upstream>/<repository>` whose content is never evicted. */
  readonly keep?: readonly string[];
}

/**
 * The index in one SQLite file, owned by one process. Writes are buffered in memory for a moment and applied together, a few at a time;
 * a query sees every write before it. Start it before the parts that write to it, and stop it after them.
 */
export class SqliteIndex implements Index, Catalogue, CatalogueLists, LosableIndex {
  readonly name = 'index';
  readonly #deps: SqliteIndexDeps;
  /** Bounded to the names in 50 of the largest manifests, about 10 MB. */
  readonly #pending = new WriteBuffer({ maxNames: 50_000 });
  readonly #flusher: BufferFlusher;
  readonly #completion = new Completion();
  readonly #counting = new Completion();
  readonly #loss = new Completion();
  #lossReason = 'it is new, or was not complete when it was closed';
  #isLostSinceRebuildBegan = false;
  #opened: OpenView | undefined;
  #replacing: Promise<void> | undefined;

  constructor(deps: SqliteIndexDeps) {
    this.#deps = deps;
    const { observer, maxBufferedWrites = 100_000 } = deps;
    this.#flusher = new BufferFlusher({
      pending: this.#pending,
      observer,
      maxPending: maxBufferedWrites,
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
    const hasAllWrites = await this.#flusher.stop();
    const database = this.#opened?.database;
    this.#opened = undefined;
    if (database && othersEnded && hasAllWrites && this.#completion.isReached) closeComplete(database);
    else database?.close();
  }

  get needsRebuild(): boolean {
    return !this.#completion.isReached;
  }

  get lossReason(): string {
    return this.#lossReason;
  }

  whenLost = ({ signal }: Waiting): Promise<void> => this.#loss.wait(signal);

  isCounted = async (): Promise<boolean> => this.#counting.isReached;

  whenCounted = ({ signal }: Waiting): Promise<void> => this.#counting.wait(signal);

  beginRebuild(): void {
    this.#isLostSinceRebuildBegan = false;
  }

  async endCounting(): Promise<void> {
    await this.#flusher.settle('rows');
    if (!this.#isLostSinceRebuildBegan) this.#counting.reach();
  }

  settled = (): Promise<void> => this.#flusher.settle();

  /** @throws Error when the file was damaged during the rebuild. */
  async completeRebuild({ signal }: Waiting): Promise<void> {
    await this.#flusher.settle();
    await this.#ask((view) => removeUnseen(view, this.#pending, { signal }));
    await this.#flusher.settle();
    if (this.#isLostSinceRebuildBegan) throw new Error('the index was damaged while it was rebuilt');
    this.#complete();
  }

  isComplete = async (): Promise<boolean> => this.#completion.isReached;

  knowsEvictable = (): Promise<boolean> => this.isComplete();

  whenComplete = ({ signal }: Waiting): Promise<void> => this.#completion.wait(signal);

  recordContent(content: IndexedContent): void {
    this.#pending.addContent(content);
    this.#flusher.writeBuffered();
  }

  recordStoredContent(content: IndexedContent): void {
    this.recordContent(content);
  }

  recordUse(digest: Digest, atMs: number): void {
    this.#pending.addUse(digest, atMs);
    this.#flusher.writeBuffered();
  }

  recordRepositoryUse(repositoryId: RepositoryId, atMs: number): void {
    this.#pending.addRepositoryUse(repositoryId, atMs);
    this.#flusher.writeBuffered();
  }

  recordLink(link: Link): void {
    this.#pending.addLink(link);
    this.#flusher.writeBuffered();
  }

  recordTag(repositoryId: RepositoryId, tag: Tag, digest: Digest): void {
    this.#pending.addTag({ repositoryId, tag, digest, source: 'mirror' });
    this.#flusher.writeBuffered();
  }

  recordStoredTag(repositoryId: RepositoryId, tag: Tag, digest: Digest): void {
    this.#pending.addTag({ repositoryId, tag, digest, source: 'store' });
    this.#flusher.writeBuffered();
  }

  forgetTag(repositoryId: RepositoryId, tag: Tag): void {
    this.#pending.addTag({ repositoryId, tag, digest: undefined, source: 'mirror' });
    this.#flusher.writeBuffered();
  }

  async borrowableLinks(repositoryId: RepositoryId, digest: Digest, kind: Link['kind']): Promise<readonly Link[]> {
    const parents = this.#pending.parentsOf(digest);
    return this.#read(({ reader }) => reader.borrowableLinks(repositoryId, digest, { kind, parents }));
  }

  hasContent = (digest: Digest): Promise<boolean> => this.#read(({ reader }) => reader.hasContent(digest));

  repositories: Catalogue['repositories'] = ({ last, limit }) =>
    this.#read(({ reader }) => reader.repositories(last, limit));

  listRepositories: CatalogueLists['listRepositories'] = (query) =>
    this.#read(({ lists }) => lists.repositories(query));

  listTags: CatalogueLists['listTags'] = (query) => this.#read(({ lists }) => lists.tags(query));

  totals = (): Promise<Totals> => this.#read(({ reader }) => reader.totals());

  tags: Catalogue['tags'] = (of, page) => this.#read(({ reader }) => reader.tags(of, page));

  links: Catalogue['links'] = (of, page) => this.#read(({ reader }) => reader.links(of, page));

  async details(digest: Digest): Promise<ContentDetails> {
    await this.#flusher.settle();
    return this.#ask(({ reader }) => reader.details(digest));
  }

  isNeeded = (key: RecordKey): Promise<boolean> => this.#read(({ reader }) => reader.isNeeded(key));

  fileBytes(): Promise<number> {
    return databaseBytes(this.#deps);
  }

  stalestRepository = (skip = 0): Promise<StaleRepository | undefined> =>
    this.#read(({ reader }) => reader.stalestRepository(skip));

  async watchingSinceMs(): Promise<number> {
    return this.#ask(({ watchingSinceMs }) => watchingSinceMs);
  }

  async evictable(options: EvictableOptions): Promise<readonly EvictableContent[]> {
    await this.#flusher.settle('evictions');
    return this.#ask((view) => evictableOf(view, this.#pending, options));
  }

  /** Removes many links in steps, then the rest at once. Content that is written afterwards stays. */
  async forget(digest: Digest): Promise<readonly RecordKey[]> {
    const stored = await this.#ask((view) => removeContent(view, this.#pending, digest));
    this.#flusher.writeBuffered();
    return stored;
  }

  /** Runs in steps: a repository of nightly builds has thousands of rows. */
  async forgetRepository(repositoryId: RepositoryId): Promise<readonly RecordKey[]> {
    return this.#ask((view) => removeRepository(view, this.#pending, repositoryId));
  }

  #viewOptions(): OpenViewOptions {
    const { observer, clock, keep = [] } = this.#deps;
    const onBroken = (cause: unknown): void => observer.internalError({ part: 'index', cause });
    return { ...this.#deps, keep, onBroken, nowMs: clock.now() };
  }

  #use(opened: OpenView): void {
    this.#opened = opened;
    this.#flusher.start(opened.file);
    if (opened.isCounted) this.#counting.reach();
    if (opened.isComplete) this.#complete();
    else this.#loss.reach();
  }

  #complete(): void {
    this.#pending.endRebuild();
    this.#counting.reach();
    this.#loss.reset();
    this.#completion.reach();
  }

  /** Waits for buffered writes except names, which are looked up in the buffer. */
  async #read<Answer>(question: (view: OpenView) => Answer | Promise<Answer>): Promise<Answer> {
    await this.#flusher.settle('rows');
    return this.#ask(question);
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
    this.#flusher.detach();
    this.#pending.beginRebuild();
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
    this.#use(await openView(this.#viewOptions(), replaceDatabase));
  }

  #open(): OpenView {
    if (!this.#opened) throw new Error('the index is not open');
    return this.#opened;
  }
}
