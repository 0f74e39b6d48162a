import type { RedisCommands, RedisState } from '../../cluster/redis/connection.ts';
import { RedisUnavailable } from '../../cluster/redis/failure.ts';
import { Completion } from '../../mirror/concurrency/abortable-wait.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Totals } from '../../mirror/ports/store-index.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Depth, WriteBuffer } from '../write-buffer.ts';
import type { StoreTotals } from './store-totals.ts';
import type { OpenedParts } from './view-steps.ts';
import { NotOpen } from './writer.ts';

/** How an operator asks. */
export interface Patience {
  readonly depth?: Depth;
  readonly signal?: AbortSignal | undefined;
}

/** What the index needs of the connection to Redis. */
export interface IndexConnection extends Pick<RedisCommands, 'run'> {
  readonly state: Pick<RedisState, 'state'>;
  start(): Promise<void>;
  stop(waiting: Waiting): Promise<void>;
  onChange(listener: (state: Pick<RedisState, 'state'>) => void): Disposable;
}

export interface TenureDeps {
  readonly redis: IndexConnection;
  /** The runs of the store, read when the view is taken over. */
  readonly runs: { readonly run: string; readonly lastRun: string | undefined };
  readonly observer: Pick<Observer, 'internalError'>;
  readonly clock: Clock;
  readonly keep?: readonly string[];
  readonly pending: WriteBuffer;
  readonly totals: StoreTotals;
  /** Counts what is stored, for a start without Redis. */
  readonly countStore: (waiting: Waiting) => Promise<Totals>;
  /** Called while Redis answers, every few seconds. */
  readonly onChecked: () => Promise<void>;
}

/** How often a Redis that failed is asked again, and the view is checked otherwise. */
const retryEveryMs = 1_000;
const checkEveryTicks = 5;
/** How long a rebuild waits for Redis before it begins anew. */
const retriedWithinMs = 15_000;
/** How long operators wait for a Redis that answered a moment ago, and how often they ask. */
const repeatedWithinMs = 2_000;
const mostAsked = 3;
/** How long the end of this process waits for a Redis that answered a moment ago: a rebuild at the next start takes longer. */
const leaveWithinMs = 2_000;

/**
 * What this process holds of the view: whether it has taken it over, whether Redis answers, and whether the view has everything.
 *
 *     away ─▶ taken over: complete, or lost and to be rebuilt ─▶ complete
 *      ▲              │ Redis does not answer                      │ keys or writes are gone
 *      └──────────────┴─────────────── lost, taken over again ◀────┘
 */
export class Tenure {
  /** The view has everything the store has. */
  readonly completion = new Completion();
  /** The totals are those of the store. */
  readonly counting = new Completion();
  /** The view must be rebuilt, and Redis answers. */
  readonly loss = new Completion();
  readonly #opening = new Completion();
  readonly #deps: TenureDeps;
  readonly #stopping = new AbortController();
  #parts: OpenedParts | undefined;
  #lossReason = 'it is new, or was not complete when it was closed';
  #isLostSinceRebuildBegan = false;
  #isTaken = false;
  #wasTaken = false;
  #isAnswering = false;
  #failedAtMs = Number.NEGATIVE_INFINITY;
  #watchingSinceMs = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #watch: Disposable | undefined;
  #ticks = 0;
  #ticking: Promise<void> | undefined;

  constructor(deps: TenureDeps) {
    this.#deps = deps;
  }

  /** Redis answers, and the view is that of this process. */
  get isOpen(): boolean {
    return this.#isTaken && this.#isAnswering;
  }

  get isComplete(): boolean {
    return this.completion.isReached && this.isOpen;
  }

  get needsRebuild(): boolean {
    return !this.completion.isReached;
  }

  get lossReason(): string {
    return this.#lossReason;
  }

  get watchingSinceMs(): number {
    return this.#watchingSinceMs;
  }

  /** Takes the view over, if Redis answers; otherwise as soon as it does. */
  async start(parts: OpenedParts): Promise<void> {
    this.#parts = parts;
    this.#timer = setInterval(() => this.#tick(), retryEveryMs).unref();
    this.#watch = this.#deps.redis.onChange(({ state }) => {
      if (state === 'up') this.#tick();
      else this.failed(new NotOpen());
    });
    this.#tick();
    await this.#ticking;
    if (!this.counting.isReached && !this.isOpen) void this.#countAlone();
  }

  /** Does the last step of a view that is complete; again after Redis did not answer for a moment. Never rejects. */
  async leave(step: () => Promise<void>): Promise<void> {
    const { clock } = this.#deps;
    const isAwayForLong = !this.isOpen && clock.monotonicMs() - this.#failedAtMs > leaveWithinMs;
    if (this.needsRebuild || isAwayForLong) return;
    await this.retried(step, { signal: AbortSignal.timeout(leaveWithinMs) }).catch(() => {}); // The next start rebuilds it.
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    clearInterval(this.#timer);
    this.#watch?.[Symbol.dispose]();
    await this.#ticking;
  }

  beginRebuild(): void {
    this.#isLostSinceRebuildBegan = false;
  }

  /** Does a step of a rebuild; again after Redis did not answer for a moment. @throws what `step` throws, or the signal's reason */
  async retried<Result>(step: () => Promise<Result>, { signal }: Waiting): Promise<Result> {
    let limit: AbortSignal | undefined;
    for (;;) {
      try {
        return await step();
      } catch (cause) {
        this.failed(cause);
        limit ??= AbortSignal.any([signal, this.#stopping.signal, AbortSignal.timeout(retriedWithinMs)]);
        await this.#opening.wait(limit).catch(() => {});
        signal.throwIfAborted();
        if (!this.isOpen || this.#isLostSinceRebuildBegan || limit.aborted) throw cause;
      }
    }
  }

  /**
   * Asks for an operator: again, a few times, after Redis did not answer for a moment.
   * @returns undefined if `ask` does so each time
   * @throws the signal's reason when it aborts in between
   */
  async repeated<Answer>(ask: () => Promise<Answer | undefined>, signal?: AbortSignal): Promise<Answer | undefined> {
    for (let asked = 1; ; asked += 1) {
      const answer = await ask();
      if (answer !== undefined || asked === mostAsked || !(await this.#isOpenSoon(signal))) return answer;
    }
  }

  async #isOpenSoon(signal: AbortSignal | undefined): Promise<boolean> {
    signal?.throwIfAborted();
    const leftMs = this.#failedAtMs + repeatedWithinMs - this.#deps.clock.monotonicMs();
    if (!this.isOpen && leftMs > 0) {
      const ends = [this.#stopping.signal, AbortSignal.timeout(Math.ceil(leftMs)), ...(signal ? [signal] : [])];
      await this.#opening.wait(AbortSignal.any(ends)).catch(() => signal?.throwIfAborted());
    }
    return this.isOpen;
  }

  endCounting(): void {
    if (this.#isLostSinceRebuildBegan) return;
    this.#deps.totals.followView();
    this.counting.reach();
  }

  /** @throws Error when the view was lost since the rebuild began */
  endRebuild(): void {
    if (this.#isLostSinceRebuildBegan) throw new Error('the view in Redis was lost while it was rebuilt');
    this.#complete();
  }

  /** A script failed: Redis does not answer, or the view is not as this process left it. */
  failed(cause: unknown): void {
    if (this.#stopping.signal.aborted) return;
    if (!(cause instanceof RedisUnavailable || cause instanceof NotOpen)) return this.lose(cause);
    if (this.#isAnswering) this.#failedAtMs = this.#deps.clock.monotonicMs();
    this.#isAnswering = false;
    this.#opening.reset();
    this.loss.reset();
  }

  /** The view is taken over again and rebuilt, while the mirror serves. Buffered writes are kept. */
  lose(cause: unknown): void {
    const { observer, totals, pending } = this.#deps;
    if (this.#isTaken) observer.internalError({ part: 'index', cause });
    this.#lossReason = cause instanceof Error ? cause.message : String(cause);
    this.#isLostSinceRebuildBegan = true;
    this.#isTaken = false;
    this.#opening.reset();
    if (this.counting.isReached) totals.countAlone(pending);
    pending.beginRebuild();
    this.completion.reset();
    this.loss.reset();
  }

  #tick(): void {
    this.#ticks += 1;
    const isDue = !this.isOpen || this.#ticks % checkEveryTicks === 0;
    if (!this.#parts || this.#ticking || !isDue || this.#deps.redis.state.state !== 'up') return;
    this.#ticking = this.#reach(this.#parts)
      .catch((cause: unknown) => this.failed(cause))
      .finally(() => {
        this.#ticking = undefined;
      });
  }

  /** Takes the view over, or checks that it is as this process left it. */
  async #reach(parts: OpenedParts): Promise<void> {
    const { view, writer } = parts;
    await writer.first(() => (this.#isTaken ? view.check() : this.#take(parts)));
    this.#isAnswering = true;
    this.#opening.reach();
    if (this.needsRebuild) this.loss.reach();
    writer.writeBuffered();
    await this.#deps.onChecked();
  }

  async #take({ view }: OpenedParts): Promise<void> {
    const { runs, keep = [], clock, totals } = this.#deps;
    const lastRun = this.#wasTaken ? runs.run : runs.lastRun;
    const isFirst = !this.#wasTaken && !this.#isLostSinceRebuildBegan;
    const opened = await view.open({ run: runs.run, lastRun, keep, nowMs: clock.now() });
    totals.setView(opened.totals);
    this.#watchingSinceMs = opened.watchingSinceMs;
    this.#isTaken = true;
    this.#wasTaken = true;
    if (isFirst && opened.isComplete) this.#complete();
    else if (isFirst && opened.isCounted) this.counting.reach();
  }

  /** Counts what is stored without Redis, so that the store keeps its bound meanwhile. */
  async #countAlone(): Promise<void> {
    const { totals, pending, countStore, observer } = this.#deps;
    try {
      const counted = await countStore({ signal: this.#stopping.signal });
      if (this.counting.isReached) return;
      totals.setView(counted);
      totals.countAlone(pending);
      this.counting.reach();
    } catch (cause) {
      if (!this.#stopping.signal.aborted) observer.internalError({ part: 'index', cause });
    }
  }

  #complete(): void {
    const { pending, totals } = this.#deps;
    pending.endRebuild();
    totals.followView();
    this.counting.reach();
    this.loss.reset();
    this.completion.reach();
  }
}
