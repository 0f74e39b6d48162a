import type { ServerResponse } from 'node:http';
import type { CacheWord } from '../../mirror/ports/cache-status.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Handler, HttpContext } from './context.ts';

/** The place of an item in a {@link LinkedList}. */
export class Link<Item> {
  readonly item: Item;
  before: Link<Item> | undefined;
  after: Link<Item> | undefined;
  isIn = false;

  constructor(item: Item) {
    this.item = item;
  }
}

/**
 * Items in the order in which they were added. For what comes and goes with every request it costs less than a Set: V8 replaces the table of a
 * Set whose size goes up and down, and an old table keeps all later ones, with the requests in them, from the cheap collection of garbage. With
 * Sets a cached manifest took 3 KB of the old space and 38 µs of CPU, instead of 30.
 */
export class LinkedList<Item> {
  #first: Link<Item> | undefined;
  #last: Link<Item> | undefined;

  get first(): Link<Item> | undefined {
    return this.#first;
  }

  append(link: Link<Item>): void {
    link.isIn = true;
    link.before = this.#last;
    if (this.#last) this.#last.after = link;
    else this.#first = link;
    this.#last = link;
  }

  /** Does nothing if it is not in the list. A removed link holds no other. */
  remove(link: Link<Item>): void {
    if (!link.isIn) return;
    const { before, after } = link;
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
    else this.#last = before;
    link.before = link.after = undefined;
    link.isIn = false;
  }

  *[Symbol.iterator](): Iterator<Item> {
    for (let link = this.#first; link; link = link.after) yield link.item;
  }
}

/** A request whose answer has no headers yet. */
interface Deadlined {
  /** On the clock of `performance.now()`. */
  readonly startedAt: number;
  /** The deadline has passed. */
  giveUp(): void;
}

type AnsweredEvent = Parameters<Observer['answered']>[0];

/**
 * The state of one request: filled in while it is handled, and read once for the access log and the metrics.
 * Its signal aborts when the client leaves, or when the request deadline passes before the headers are sent. Work that ignores the signal
 * runs on detached, and the client gets its error without waiting for it.
 */
export class Exchange implements Waiting, Deadlined {
  readonly startedAt = performance.now();
  kind: AnsweredEvent['kind'] = 'other';
  cache: CacheWord = 'none';
  /** Why something stale was served. */
  staleReason: string | undefined;
  upstream = 'none';
  repository: string | undefined;
  /** `<upstream>/<repository>`. */
  repositoryName: string | undefined;
  reference: string | undefined;
  /** In the log, and in the answer if that is an error. */
  requestId: string | undefined;
  bytes = 0;
  readonly #response: ServerResponse;
  readonly #deadline: RequestDeadline;
  readonly #place = new Link<Deadlined>(this);
  readonly #whenOver: (() => void)[] = [];
  #controller: AbortController | undefined;
  #giveUpWork: ((cause: UpstreamError) => void) | undefined;
  /** Set at the request deadline: another answer was sent. */
  #tooLate: UpstreamError | undefined;
  #firstByteAt: number | undefined;
  #isRunning = false;
  #isAnswered = false;

  constructor(response: ServerResponse, deadline: RequestDeadline) {
    this.#response = response;
    this.#deadline = deadline;
    deadline.begin(this.#place);
  }

  get firstByteAt(): number | undefined {
    return this.#firstByteAt;
  }

  /**
   * Runs the work. Settles as it does, or rejects at the request deadline. Work that still hangs then runs on detached: its result is dropped,
   * and {@link begin} prevents it from writing to the response.
   * @returns nothing if the work is done at once. @throws what the work throws at once.
   */
  inTime(begin: () => Promise<void> | void): Promise<void> | void {
    this.#isRunning = true;
    let work: Promise<void> | undefined | void = undefined;
    try {
      work = begin();
    } finally {
      if (!work) this.#workEnded();
    }
    return work && this.#unlessLate(work);
  }

  #unlessLate(work: Promise<void>): Promise<void> {
    const ended = work.then(
      () => this.#workEnded(),
      (cause: unknown) => {
        this.#workEnded();
        throw cause;
      },
    );
    if (this.#firstByteAt !== undefined) return ended; // The deadline does not apply any more.
    return new Promise((resolve, reject) => {
      this.#giveUpWork = reject;
      ended.then(resolve, reject);
    });
  }

  /**
   * To be called before the headers are sent; the request deadline no longer applies.
   * @throws UpstreamError when the deadline has passed and another answer was sent.
   */
  begin(): void {
    if (this.#tooLate) throw this.#tooLate;
    this.#firstByteAt = performance.now();
    this.#deadline.end(this.#place);
  }

  giveUp(): void {
    this.#tooLate = new UpstreamError('timeout', 'no answer came in time');
    this.#controller?.abort(this.#tooLate);
    this.#giveUpWork?.(this.#tooLate);
  }

  /** Calls back when the answer has ended, complete or cut, and no work runs for it. Cheaper for each request than a listener on the response. */
  whenOver(callback: () => void): void {
    this.#whenOver.push(callback);
  }

  /** The answer has ended. */
  end(): void {
    this.#isAnswered = true;
    this.#deadline.end(this.#place);
    this.#callBackIfOver();
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      const controller = new AbortController();
      this.#controller = controller;
      const leave = () => controller.abort(new ClientLeft());
      if (this.#tooLate) controller.abort(this.#tooLate);
      else if (this.#response.destroyed) leave();
      else this.#response.once('close', leave);
    }
    return this.#controller.signal;
  }

  #workEnded(): void {
    this.#isRunning = false;
    this.#deadline.end(this.#place);
    this.#callBackIfOver();
  }

  #callBackIfOver(): void {
    if (this.#isRunning || !this.#isAnswered) return;
    for (const callback of this.#whenOver) callback();
  }
}

/** The client disconnected; it needs no answer. */
export class ClientLeft extends Error {
  override readonly name = 'ClientLeft';

  constructor() {
    super('the client has left');
  }
}

export interface ExchangeState {
  exchange: Exchange;
}

/** A Koa context after the access log made its exchange. */
export type RegistryContext = HttpContext & { state: ExchangeState };

/** A middleware of the registry. */
export type Step = Handler<ExchangeState>;

/** containerd gives up when headers take longer than 30 s (containerd #13164): it must have an answer, or an error, before. */
const requestDeadlineMs = 25_000;

/**
 * Ends every request that has no headers within the deadline. All requests have the same deadline, so the oldest is always the next to
 * expire, and one timer serves all: a timer for each request would add to the cost of every hit.
 */
export class RequestDeadline {
  readonly #deadlineMs: number;
  /** Oldest first. */
  readonly #waiting = new LinkedList<Deadlined>();
  #timer: NodeJS.Timeout | undefined;

  constructor({ deadlineMs = requestDeadlineMs }: { readonly deadlineMs?: number | undefined } = {}) {
    this.#deadlineMs = deadlineMs;
  }

  begin(request: Link<Deadlined>): void {
    this.#waiting.append(request);
    if (!this.#timer) this.#checkIn(this.#deadlineMs);
  }

  end(request: Link<Deadlined>): void {
    this.#waiting.remove(request);
  }

  #checkIn(delayMs: number): void {
    this.#timer = setTimeout(() => this.#endOverdue(), delayMs).unref();
  }

  #endOverdue(): void {
    this.#timer = undefined;
    for (let oldest = this.#waiting.first; oldest; oldest = this.#waiting.first) {
      const leftMs = oldest.item.startedAt + this.#deadlineMs - performance.now();
      if (leftMs > 0) return this.#checkIn(Math.ceil(leftMs));
      this.#waiting.remove(oldest);
      oldest.item.giveUp();
    }
  }
}

/** An IPv4 address that an IPv6 socket reports as `::ffff:10.0.0.1` is `10.0.0.1`. Pure. */
export function unmapped(address: string | undefined): string | undefined {
  return address?.startsWith('::ffff:') === true && address.includes('.') ? address.slice(7) : address;
}
