import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { RecordKey } from '../../mirror/ports/record-store.ts';
import { type RepositoryId, repositoryKey } from '../../mirror/ports/repository-id.ts';
import type {
  Catalogue,
  CatalogueLists,
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
import { anyGlobMatcher, type Tag } from '../../oci/reference.ts';
import type { LosableIndex } from '../rebuilder.ts';
import type { StoredLinks } from '../stored-links.ts';
import { type Depth, WriteBuffer } from '../write-buffer.ts';
import {
  borrowableOf,
  evictableOf,
  type OpenedParts,
  openParts,
  type Question,
  removeContent,
  removeRepository,
  removeUnseen,
} from './view-steps.ts';
import { EvictionWindow, windowSize } from './eviction-window.ts';
import { StoreTotals } from './store-totals.ts';
import { type IndexConnection, type Patience, Tenure } from './tenure.ts';
import { ViewLost } from './view.ts';

const closeWithinMs = 1_000;

export interface RedisIndexDeps {
  readonly redis: IndexConnection;
  readonly keyPrefix: string;
  /** The id of the store: it names the view. */
  readonly storeId: () => Promise<string>;
  /** The runs of the store, read at start. */
  readonly runs: { readonly run: string; readonly lastRun: string | undefined };
  readonly observer: Pick<Observer, 'internalError'>;
  readonly clock: Clock;
  /** Asked while the view does not have every link. */
  readonly storedLinks: Pick<StoredLinks, 'borrowable' | 'linked' | 'names' | 'forget'>;
  /** For a start without Redis. */
  readonly countStore: (waiting: Waiting) => Promise<Totals>;
  readonly maxBufferedWrites?: number;
  /** Globs on `<upstream>/<repository>` whose content is never evicted. */
  readonly keep?: readonly string[];
}

/**
 * The index in Redis, written by one process. Writes are buffered in memory for a moment and applied together; a query sees every write
 * before it. While Redis does not answer, writes stay buffered, queries answer at once with what is safe without it, and the totals are those
 * that this process knows.
 */
export class RedisIndex implements Index, Catalogue, CatalogueLists, LosableIndex {
  readonly name = 'index';
  readonly #deps: RedisIndexDeps;
  readonly #pending = new WriteBuffer({ maxNames: 50_000 });
  readonly #totals = new StoreTotals();
  readonly #window = new EvictionWindow();
  readonly #isKept: (repository: string) => boolean;
  readonly #tenure: Tenure;
  #parts: OpenedParts | undefined;

  constructor(deps: RedisIndexDeps) {
    this.#deps = deps;
    this.#isKept = anyGlobMatcher(deps.keep ?? []);
    const [pending, totals] = [this.#pending, this.#totals];
    this.#tenure = new Tenure({ ...deps, pending, totals, onChecked: () => this.#fillWindow() });
  }

  /** Works without Redis too. @throws Error when the store has no id and none can be made */
  async start(): Promise<void> {
    const { maxBufferedWrites = 100_000, storeId, redis } = this.#deps;
    const tenure = this.#tenure;
    this.#parts = openParts({
      ...this.#deps,
      storeId: await storeId(),
      pending: this.#pending,
      totals: this.#totals,
      isKept: this.#isKept,
      maxPending: maxBufferedWrites,
      isOpen: () => tenure.isOpen,
      onFailed: (cause) => tenure.failed(cause),
      onDropped: () => tenure.lose(new Error('buffered writes were dropped: Redis did not take them')),
    });
    await redis.start();
    await tenure.start(this.#parts);
  }

  /**
   * Marks the view as complete if it is, and Redis took every write: the next start then needs no rebuild.
   * @param options.othersEnded false if something may still be written to the store without the index.
   */
  async stop({ othersEnded }: { readonly othersEnded: boolean } = { othersEnded: true }): Promise<void> {
    const { writer, view } = this.#parts ?? {};
    const close = async () => {
      await writer?.settleAll();
      await writer?.first(async () => view?.close());
    };
    if (othersEnded) await this.#tenure.leave(close);
    await this.#tenure.stop();
    await writer?.stop();
    this.#parts = undefined;
    await this.#deps.redis.stop({ signal: AbortSignal.timeout(closeWithinMs) });
  }

  /** Whether Redis answers, and the view is that of this process. */
  get isOpen(): boolean {
    return this.#tenure.isOpen;
  }

  get needsRebuild(): boolean {
    return this.#tenure.needsRebuild;
  }

  get lossReason(): string {
    return this.#tenure.lossReason;
  }

  whenLost = ({ signal }: Waiting): Promise<void> => this.#tenure.loss.wait(signal);

  isCounted = async (): Promise<boolean> => this.#tenure.counting.isReached;

  whenCounted = ({ signal }: Waiting): Promise<void> => this.#tenure.counting.wait(signal);

  beginRebuild = (): void => this.#tenure.beginRebuild();

  async endCounting({ signal }: Waiting): Promise<void> {
    await this.#tenure.retried(() => this.#partsInUse().writer.settle('rows'), { signal });
    this.#tenure.endCounting();
  }

  settled = ({ signal }: Waiting): Promise<void> =>
    this.#tenure.retried(() => this.#partsInUse().writer.settle(), { signal });

  async completeRebuild({ signal }: Waiting): Promise<void> {
    await this.settled({ signal });
    const retried = <Result>(step: () => Promise<Result>) => this.#tenure.retried(step, { signal });
    await removeUnseen(this.#partsInUse(), this.#pending, { retried, signal });
    await this.settled({ signal });
    this.#tenure.endRebuild();
  }

  isComplete = async (): Promise<boolean> => this.#tenure.isComplete;

  /** Also resolves while Redis does not answer: the index cannot be completed then. */
  async whenComplete({ signal }: Waiting): Promise<void> {
    if (this.#tenure.isOpen) await this.#tenure.completion.wait(signal);
  }

  recordContent(content: IndexedContent): void {
    this.#totals.stored(content);
    this.#window.leaveOut([content.digest, ...content.names]);
    this.recordStoredContent(content);
  }

  recordStoredContent(content: IndexedContent): void {
    if (content.isManifest) this.#deps.storedLinks.names(content.digest, content.names);
    this.#pending.addContent(content);
    this.#written();
  }

  recordUse(digest: Digest, atMs: number): void {
    this.#window.leaveOut([digest]);
    this.#pending.addUse(digest, atMs);
    this.#written();
  }

  recordRepositoryUse(repositoryId: RepositoryId, atMs: number): void {
    this.#pending.addRepositoryUse(repositoryId, atMs);
    this.#written();
  }

  recordLink(link: Link): void {
    this.#totals.recorded();
    if (this.#isKept(repositoryKey(link.repositoryId))) this.#window.leaveOut([link.digest]);
    this.#deps.storedLinks.linked(link);
    this.#pending.addLink(link);
    this.#written();
  }

  recordTag(repositoryId: RepositoryId, tag: Tag, digest: Digest): void {
    this.#pending.addTag({ repositoryId, tag, digest, source: 'mirror' });
    this.#written();
  }

  recordStoredTag(repositoryId: RepositoryId, tag: Tag, digest: Digest): void {
    this.#pending.addTag({ repositoryId, tag, digest, source: 'store' });
    this.#written();
  }

  forgetTag(repositoryId: RepositoryId, tag: Tag): void {
    this.#pending.addTag({ repositoryId, tag, digest: undefined, source: 'mirror' });
    this.#written();
  }

  /** While the view may lack links, those that it does not tell are looked for in the records of the store. */
  async borrowableLinks(repositoryId: RepositoryId, digest: Digest, kind: Link['kind']): Promise<readonly Link[]> {
    const question = { repositoryId, digest, kind };
    const found = await this.#ask({ otherwise: undefined }, (parts) => borrowableOf(parts, this.#pending, question));
    if (found && (found.length > 0 || this.#tenure.isComplete)) return found;
    return this.#deps.storedLinks.borrowable(question);
  }

  tags: Catalogue['tags'] = (of, page) => this.#askPatiently(({ reader }) => reader.tags(of, page));
  links: Catalogue['links'] = (of, page) => this.#askPatiently(({ reader }) => reader.links(of, page));
  details: Catalogue['details'] = (of) => this.#askPatiently(({ reader }) => reader.details(of), { depth: 'all' });
  listRepositories: CatalogueLists['listRepositories'] = (query) =>
    this.#askPatiently(({ lists }) => lists.repositories(query), query);
  listTags: CatalogueLists['listTags'] = (query) => this.#askPatiently(({ lists }) => lists.tags(query), query);

  hasContent = async (digest: Digest): Promise<boolean> =>
    this.#pending.contents.has(digest) || this.#ask({ otherwise: false }, ({ reader }) => reader.hasContent(digest));

  repositories = (page: { last: string | undefined; limit: number }): Promise<readonly string[] | undefined> =>
    this.#ask({ otherwise: undefined }, ({ reader }) => reader.repositories(page.last, page.limit));

  async totals(): Promise<Totals> {
    await this.#ask({ otherwise: undefined }, async () => undefined);
    return this.#totals.known(this.#pending);
  }

  /** What may still be needed is kept. */
  isNeeded = (key: RecordKey): Promise<boolean> => this.#ask({ otherwise: true }, ({ reader }) => reader.isNeeded(key));

  fileBytes = async (): Promise<number> => 0;

  stalestRepository = (skip = 0): Promise<StaleRepository | undefined> =>
    this.#ask({ otherwise: undefined }, ({ reader }) => reader.stalestRepository(skip));

  watchingSinceMs = async (): Promise<number> => this.#tenure.watchingSinceMs;

  /** Also while Redis does not answer: then of what was evicted next. */
  knowsEvictable = async (): Promise<boolean> => !this.#tenure.needsRebuild;

  async evictable(options: EvictableOptions): Promise<readonly EvictableContent[]> {
    const found = await this.#ask({ otherwise: undefined, depth: 'evictions' }, (parts) =>
      evictableOf(parts, this.#pending, options),
    );
    if (found) this.#window.add(found);
    return found ?? this.#window.evictable(options);
  }

  /** Content that is written afterwards stays. What Redis does not tell stays on the disk as a link without content. */
  async forget(digest: Digest): Promise<readonly RecordKey[]> {
    const next = this.#window.take(digest);
    this.#deps.storedLinks.forget(digest);
    const { keys, isRemoved } = await removeContent(this.#partsInUse(), this.#pending, digest);
    if (!isRemoved && next) this.#totals.removed(next);
    return keys;
  }

  forgetRepository = (repositoryId: RepositoryId): Promise<readonly RecordKey[]> =>
    removeRepository(this.#partsInUse(), this.#pending, repositoryKey(repositoryId));

  #partsInUse(): OpenedParts {
    if (!this.#parts) throw new Error('the index is not open');
    return this.#parts;
  }

  readonly #written = (): void => this.#parts?.writer.writeBuffered();

  /** Asks Redis after every write before; `otherwise`, if it gives no usable answer. */
  async #ask<Answer>(
    { otherwise, depth = 'rows' }: { readonly otherwise: Answer; readonly depth?: Depth },
    question: Question<Answer>,
  ): Promise<Answer> {
    const parts = this.#partsInUse();
    if (!this.#tenure.isOpen) return otherwise;
    try {
      await parts.writer.settle(depth);
      return await question(parts);
    } catch (cause) {
      // A query that was sent again may have been overtaken by a write: only the check tells.
      if (cause instanceof ViewLost)
        await parts.writer.first(() => parts.view.check()).catch((lost) => this.#tenure.failed(lost));
      else this.#tenure.failed(cause);
      return otherwise;
    }
  }

  /** For an operator. @throws the signal's reason when it aborts while Redis is away */
  #askPatiently<Answer>(question: Question<Answer>, { depth, signal }: Patience = {}): Promise<Answer | undefined> {
    return this.#tenure.repeated(() => this.#ask({ otherwise: undefined, ...(depth && { depth }) }, question), signal);
  }

  async #fillWindow(): Promise<void> {
    if (!this.#tenure.isComplete) return;
    const next = await this.#ask({ otherwise: undefined }, ({ reader }) => reader.evictedNext(windowSize));
    if (next) this.#window.fill(next.filter(({ digest }) => !this.#pending.isNamed(digest)));
  }
}
