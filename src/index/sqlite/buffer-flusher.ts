import type { DatabaseSync } from 'node:sqlite';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Observer, StoreObserver } from '../../mirror/ports/observer.ts';
import type { RepositoryId } from '../../mirror/ports/repository-id.ts';
import type { Index, IndexedContent, Link } from '../../mirror/ports/store-index.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Tag } from '../../oci/reference.ts';
import { Slice, type SliceLimits } from '../buffer-writer.ts';
import type { RebuildableIndex } from '../rebuild.ts';
import { type FreePages, isDamage, inTransaction, type RowWriter } from './rows.ts';
import { type Depth, WriteBuffer } from '../write-buffer.ts';

/** How long a write may wait in the buffer. */
const flushDelayMs = 200;
/** While the disk refuses writes. */
const retryDelayMs = 5_000;
/** A transaction of this many rows takes a few milliseconds if the pages are in memory; otherwise `msPerFlush` ends it. */
const rowsPerFlush = 100;
const msPerFlush = 5;
/** A row changes up to ten pages of 4 KiB. */
const manyRows = 50;
/** A query waits so long for the end of a pause; a disk under load syncs within this. */
const queriesWaitMs = 2_000;
/** After such a pause the index counts as behind the store. */
const behindAfterMs = 10_000;

export interface BufferFlusherDeps {
  readonly pending: WriteBuffer;
  readonly observer: Pick<Observer, 'internalError'> & Pick<StoreObserver, 'indexAnswered'>;
  /** How many writes are buffered while the disk refuses them, or does not answer. Beyond that they are dropped, and the index is rebuilt. */
  readonly maxPending: number;
  /** Called after some fifty rows. */
  readonly onManyWritten: () => void;
  /** Called when the file is damaged: nothing more is written to it. */
  readonly onDamaged: (cause: unknown) => void;
  /** Milliseconds of a monotonic clock. Default: the machine's. */
  readonly now?: () => number;
}

export interface IndexFile {
  readonly database: DatabaseSync;
  readonly writer: RowWriter;
  readonly pages: Pick<FreePages, 'releasePages'>;
}

interface Pause {
  readonly ended: PromiseWithResolvers<void>;
  /** Resolves when it has ended, or queries wait no longer. */
  readonly waitedFor: PromiseWithResolvers<void>;
  readonly beganAtMs: number;
}

/** Applies buffered writes to the file, in small transactions. */
export class BufferFlusher {
  readonly #deps: BufferFlusherDeps;
  readonly #limits: SliceLimits;
  #file: IndexFile | undefined;
  #soon: NodeJS.Immediate | undefined;
  #later: NodeJS.Timeout | undefined;
  #isRefused = false;
  #rows = 0;
  #hasWritten = true;
  #pause: Pause | undefined;
  #hasDroppedWrites = false;

  constructor(deps: BufferFlusherDeps) {
    this.#deps = deps;
    this.#limits = { maxRows: rowsPerFlush, maxMs: msPerFlush, now: deps.now ?? (() => performance.now()) };
  }

  start(file: IndexFile): void {
    this.#file = file;
    this.writeBuffered();
  }

  /** Applies all buffered writes. @returns whether every write ever buffered is in the file. */
  async stop(): Promise<boolean> {
    while (this.#deps.pending.size > 0 && this.#write('all') !== undefined) await nextTurn();
    this.#file = undefined;
    this.#cancel();
    return this.#deps.pending.size === 0 && !this.#hasDroppedWrites;
  }

  /** The file is gone: writes stay buffered until there is another. */
  detach(): void {
    this.#file = undefined;
    this.#cancel();
  }

  /** From now on nothing is written to the file. @returns a function that ends the pause. */
  pause(): () => void {
    const [ended, waitedFor] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    this.#pause = { ended, waitedFor, beganAtMs: this.#limits.now() };
    this.#cancel();
    const timer = setTimeout(() => waitedFor.resolve(), queriesWaitMs).unref();
    return () => {
      clearTimeout(timer);
      this.#pause = undefined;
      ended.resolve();
      waitedFor.resolve();
      if (this.#file) this.#soon ??= setImmediate(() => this.#flush()).unref(); // It may also have pages to release.
    };
  }

  /** Whether writes wait for a disk that has not answered for long. */
  get isBehind(): boolean {
    return this.#pause !== undefined && this.#limits.now() - this.#pause.beganAtMs >= behindAfterMs;
  }

  /** Whether anything was written since the last call. */
  takeWritten(): boolean {
    const hasWritten = this.#hasWritten;
    this.#hasWritten = false;
    return hasWritten;
  }

  /** To be called by others that have written or removed rows. */
  wrote(rows: number): void {
    this.#hasWritten = true;
    this.#rows += rows;
    if (this.#rows < manyRows) return;
    this.#rows = 0;
    this.#deps.onManyWritten();
  }

  get isPaused(): boolean {
    return this.#pause !== undefined;
  }

  /** Resolves when the file may be written to: until the caller waits again. */
  async ready(): Promise<void> {
    while (this.#pause) await this.#pause.ended.promise;
  }

  /** To be called after each buffered write. */
  writeBuffered(): void {
    const { size } = this.#deps.pending;
    if (this.#pause) return this.#dropBeyondBound();
    if (!this.#file || size === 0) return;
    if (size >= rowsPerFlush && !this.#isRefused) this.#soon ??= setImmediate(() => this.#flush()).unref();
    else this.#later ??= setTimeout(() => this.#flush(), this.#isRefused ? retryDelayMs : flushDelayMs).unref();
  }

  /** Resolves when the writes that are buffered now are on the disk, or the disk refused them. */
  settle(depth: Depth = 'all'): Promise<void> {
    return this.#settle(depth, ({ ended }) => ended.promise.then(() => true));
  }

  /** Likewise before a query that may miss the last writes: it does not wait long for a disk that hangs. */
  settleForQuery(depth: Depth = 'all'): Promise<void> {
    return this.#settle(depth, async (pause) => {
      await pause.waitedFor.promise;
      return this.#pause !== pause;
    });
  }

  /** @param outwait resolves with whether to go on. */
  async #settle(depth: Depth, outwait: (pause: Pause) => Promise<boolean>): Promise<void> {
    const { pending } = this.#deps;
    const isWritten = pending.mark();
    for (let left = pending.sizeOf(depth); pending.sizeOf(depth) > 0; ) {
      while (this.#pause) if (!(await outwait(this.#pause))) return;
      const rows = this.#write(depth);
      if (rows === undefined) return;
      left -= rows;
      if (left <= 0 && isWritten() && (depth === 'rows' || !pending.hasUnnamed)) return;
      await nextTurn();
    }
  }

  #flush(): void {
    this.#cancel();
    const rows = this.#write('all');
    if (rows === undefined) return this.writeBuffered();
    if (this.#deps.pending.size > 0 || this.#shrink()) this.#soon = setImmediate(() => this.#flush()).unref();
  }

  #cancel(): void {
    clearImmediate(this.#soon);
    clearTimeout(this.#later);
    this.#soon = undefined;
    this.#later = undefined;
  }

  /** @returns how many rows were written; undefined when the disk refused them. */
  #write(depth: Depth): number | undefined {
    if (!this.#file) return undefined;
    try {
      const rows = this.#writeSome(this.#file, depth);
      this.#isRefused = false;
      return rows;
    } catch (cause) {
      this.#refused(cause);
      return undefined;
    }
  }

  #shrink(): boolean {
    try {
      const isMore = this.#file?.pages.releasePages() ?? false;
      this.#hasWritten ||= isMore;
      return isMore;
    } catch (cause) {
      this.#refused(cause);
      return false;
    }
  }

  #writeSome({ database, writer }: IndexFile, depth: Depth): number {
    const { pending, observer } = this.#deps;
    const startedAtMs = this.#limits.now();
    const slice = new Slice(this.#limits);
    inTransaction(database, () => pending.writeSome(writer, slice, depth));
    slice.commit();
    observer.indexAnswered({ operation: 'write', durationMs: this.#limits.now() - startedAtMs });
    this.wrote(slice.rows);
    return slice.rows;
  }

  /** The writes stay buffered, up to the bound, and are retried. Only the first refusal is reported. */
  #refused(cause: unknown): void {
    const { observer, onDamaged } = this.#deps;
    if (isDamage(cause)) return onDamaged(cause);
    if (!this.#isRefused) observer.internalError({ part: 'index', cause });
    this.#isRefused = true;
    this.#dropBeyondBound();
  }

  #dropBeyondBound(): void {
    const { pending, maxPending } = this.#deps;
    if (pending.sizeOf('evictions') <= maxPending) return;
    pending.clear();
    this.#hasDroppedWrites = true;
  }
}

type Writes = Pick<
  Index & RebuildableIndex,
  | 'recordContent'
  | 'recordStoredContent'
  | 'recordUse'
  | 'recordRepositoryUse'
  | 'recordLink'
  | 'recordTag'
  | 'recordStoredTag'
  | 'forgetTag'
>;

/** The writes of an index that are buffered in memory for a moment. */
export abstract class BufferedIndex implements Writes {
  /** Bounded to the names in 50 of the largest manifests, about 10 MB. */
  protected readonly pending = new WriteBuffer({ maxNames: 50_000 });

  /** What a running rebuild may have seen before. */
  protected readonly evictedInRebuild = new Set<Digest>();

  /** Called after each buffered write. */
  protected abstract written(): void;

  recordContent(content: IndexedContent): void {
    this.evictedInRebuild.delete(content.digest);
    this.pending.addContent(content);
    this.written();
  }

  /** What was evicted since the store was listed is not in it any more. */
  recordStoredContent(content: IndexedContent): void {
    if (!this.evictedInRebuild.has(content.digest)) this.recordContent(content);
  }

  recordUse(digest: Digest, atMs: number): void {
    this.pending.addUse(digest, atMs);
    this.written();
  }

  recordRepositoryUse(repositoryId: RepositoryId, atMs: number): void {
    this.pending.addRepositoryUse(repositoryId, atMs);
    this.written();
  }

  recordLink(link: Link): void {
    this.pending.addLink(link);
    this.written();
  }

  recordTag(repositoryId: RepositoryId, tag: Tag, digest: Digest): void {
    this.pending.addTag({ repositoryId, tag, digest, source: 'mirror' });
    this.written();
  }

  recordStoredTag(repositoryId: RepositoryId, tag: Tag, digest: Digest): void {
    this.pending.addTag({ repositoryId, tag, digest, source: 'store' });
    this.written();
  }

  forgetTag(repositoryId: RepositoryId, tag: Tag): void {
    this.pending.addTag({ repositoryId, tag, digest: undefined, source: 'mirror' });
    this.written();
  }
}
