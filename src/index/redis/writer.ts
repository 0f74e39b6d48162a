import type { Clock } from '../../mirror/ports/clock.ts';
import { Slice, type SliceLimits } from '../buffer-writer.ts';
import type { Depth, WriteBuffer } from '../write-buffer.ts';
import { RowBatch } from './rows.ts';
import type { StoreTotals } from './store-totals.ts';
import type { View } from './view.ts';

/** Rows of one script, which blocks Redis for a few milliseconds. */
const rowsPerScript = 250;
const limits: SliceLimits = { maxRows: rowsPerScript, maxMs: Number.POSITIVE_INFINITY, now: () => 0 };
/** How long a write may wait in the buffer. */
const flushDelayMs = 200;

export interface WriterDeps {
  readonly view: View;
  readonly pending: WriteBuffer;
  readonly totals: StoreTotals;
  readonly clock: Clock;
  readonly isKept: (repository: string) => boolean;
  /** How many writes are buffered while Redis does not take them. Beyond that they are dropped, and the index is rebuilt. */
  readonly maxPending: number;
  /** Whether Redis answers and the view is open. */
  readonly isOpen: () => boolean;
  /** Called with each failure of a script. */
  readonly onFailed: (cause: unknown) => void;
  readonly onDropped: () => void;
}

/** Redis does not answer, or the view is not open: what was to be written stays buffered. */
export class NotOpen extends Error {
  override readonly name = 'NotOpen';
  readonly code = 'unavailable';

  constructor() {
    super('Redis gives no usable answer');
  }
}

/** Applies buffered writes to the view, a script at a time. */
export class Writer {
  readonly #deps: WriterDeps;
  readonly #turns = new Turns();
  /** Rows that remove what was forgotten; applied before anything else. */
  #removals: Buffer[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: WriterDeps) {
    this.#deps = deps;
  }

  /** To be called after each buffered write. */
  writeBuffered(): void {
    const { isOpen, pending } = this.#deps;
    if (this.#isOverfull()) this.#drop();
    if (!isOpen() || (pending.size === 0 && this.#removals.length === 0)) return;
    this.#timer ??= setTimeout(() => this.#flush(), pending.size >= rowsPerScript ? 0 : flushDelayMs).unref();
  }

  /** Writes what is buffered now. @throws NotOpen, or the failure of a script */
  async settle(depth: Depth = 'all'): Promise<void> {
    const { pending } = this.#deps;
    const isWritten = pending.mark();
    for (let left = this.#sizeOf(depth); this.#sizeOf(depth) > 0; ) {
      left -= await this.#turns.take(() => this.#write(depth));
      if (left <= 0 && isWritten() && (depth === 'rows' || !pending.hasUnnamed)) return;
    }
  }

  /** Writes everything. @throws likewise */
  async settleAll(): Promise<void> {
    while (this.#sizeOf('all') > 0) await this.settle();
  }

  /** Runs before any further buffered write: what is buffered from now on is written afterwards. */
  first<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#turns.takeFirst(work);
  }

  /** Removes rows, within `first`. If that fails they are removed before the next write. @throws as `settle` */
  async remove(rows: readonly Buffer[]): Promise<void> {
    this.#removals.push(...rows);
    while (this.#removals.length > 0) await this.#writeRemovals();
  }

  /** Removes rows before the next write. */
  removeLater(rows: readonly Buffer[]): void {
    this.#removals.push(...rows);
  }

  /** Writes everything, as long as Redis takes it. Never rejects. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.settleAll().catch(() => {}); // The view is not complete: it will be rebuilt.
  }

  #flush(): void {
    this.#timer = undefined;
    // The failure was reported; there is a next attempt when Redis answers.
    this.settle().then(
      () => this.writeBuffered(),
      () => {},
    );
  }

  #sizeOf(depth: Depth): number {
    return this.#deps.pending.sizeOf(depth) + this.#removals.length;
  }

  /** @returns how many rows were written. */
  async #write(depth: Depth): Promise<number> {
    if (this.#removals.length > 0) return this.#writeRemovals();
    const { pending, isKept, totals } = this.#deps;
    const batch = new RowBatch({ isKept });
    const slice = new Slice(limits);
    pending.writeSome(batch, slice, depth);
    if (batch.rows.length === 0) return 0;
    const { unknownUses, unfinished, totals: counted } = await this.#apply(batch.rows);
    slice.commit();
    totals.setView(counted);
    for (const digest of unknownUses) pending.keepEarlyUse(digest, batch.uses.get(digest) ?? 0);
    for (const digest of unfinished) pending.unnameLater(digest);
    return slice.rows;
  }

  async #writeRemovals(): Promise<number> {
    const rows = this.#removals.slice(0, rowsPerScript);
    const { totals } = await this.#apply(rows);
    this.#removals = this.#removals.slice(rows.length);
    this.#deps.totals.setView(totals);
    return rows.length;
  }

  async #apply(rows: readonly Buffer[]) {
    const { view, clock, isOpen, onFailed } = this.#deps;
    if (!isOpen()) throw new NotOpen();
    try {
      return await view.apply(rows, clock.now());
    } catch (cause) {
      onFailed(cause);
      throw cause;
    }
  }

  #isOverfull(): boolean {
    const { pending, maxPending } = this.#deps;
    return this.#sizeOf('evictions') > maxPending || pending.hasDroppedNames;
  }

  #drop(): void {
    const { pending, totals, onDropped } = this.#deps;
    totals.countAlone(pending);
    pending.clear();
    this.#removals = [];
    onDropped();
  }
}

/** One piece of work at a time; some go before the others. */
class Turns {
  readonly #first: (() => Promise<void>)[] = [];
  readonly #others: (() => Promise<void>)[] = [];
  #isBusy = false;

  takeFirst<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#take(this.#first, work);
  }

  take<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#take(this.#others, work);
  }

  #take<Result>(queue: (() => Promise<void>)[], work: () => Promise<Result>): Promise<Result> {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    queue.push(() => work().then(resolve, reject));
    if (!this.#isBusy) void this.#run();
    return promise;
  }

  async #run(): Promise<void> {
    this.#isBusy = true;
    for (let next = this.#next(); next; next = this.#next()) await next();
    this.#isBusy = false;
  }

  #next(): (() => Promise<void>) | undefined {
    return this.#first.shift() ?? this.#others.shift();
  }
}
