import type { ServerResponse } from 'node:http';
import type { Context } from 'koa';
import type { CacheWord } from '../../mirror/ports/cache-status.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Impatient, Patience } from './patience.ts';

type AnsweredEvent = Parameters<Observer['answered']>[0];

/**
 * One request and what became of it: filled on the way, read once when the answer is over, for the log and the metrics.
 * It is also who waits for it: when the client leaves, or its patience ends before the headers leave, its signal aborts; and whatever
 * does not listen to that is left to itself, and answered for.
 */
export class Exchange implements Waiting, Impatient {
  readonly startedAt = performance.now();
  kind: AnsweredEvent['kind'] = 'other';
  cache: CacheWord = 'none';
  /** Why something stale was served. */
  staleReason: string | undefined;
  upstream = 'none';
  repository: string | undefined;
  reference: string | undefined;
  bytes = 0;
  readonly #response: ServerResponse;
  readonly #patience: Patience;
  readonly #whenOver: (() => void)[] = [];
  #controller: AbortController | undefined;
  #giveUpWork: ((cause: UpstreamError) => void) | undefined;
  /** Another answer has left instead. */
  #tooLate: UpstreamError | undefined;
  #firstByteAt: number | undefined;
  #isWorkedOn = false;
  #isAnswered = false;

  constructor(response: ServerResponse, patience: Patience) {
    this.#response = response;
    this.#patience = patience;
    patience.begin(this);
  }

  get firstByteAt(): number | undefined {
    return this.#firstByteAt;
  }

  /**
   * Resolves with the work, and rejects when patience ends before that. What hangs then goes on by itself, nobody is told what it comes to,
   * and it must not touch the answer any more: see {@link begin}.
   */
  inTime(work: Promise<void>): Promise<void> {
    this.#isWorkedOn = true;
    return new Promise((resolve, reject) => {
      this.#giveUpWork = reject;
      work.then(
        () => {
          this.#worked();
          resolve();
        },
        (cause: unknown) => {
          this.#worked();
          reject(cause);
        },
      );
    });
  }

  /**
   * The headers leave: from here on the client sees for itself how it goes.
   * @throws UpstreamError when it is too late for them.
   */
  begin(): void {
    if (this.#tooLate) throw this.#tooLate;
    this.#firstByteAt = performance.now();
    this.#patience.end(this);
  }

  giveUp(): void {
    this.#tooLate = new UpstreamError('timeout', 'no answer came in time');
    this.#controller?.abort(this.#tooLate);
    this.#giveUpWork?.(this.#tooLate);
  }

  /** Calls back when the answer is over, complete or cut, and nothing works on it any more: a listener on the response would cost each request more. */
  whenOver(callback: () => void): void {
    this.#whenOver.push(callback);
  }

  /** The answer is over. */
  end(): void {
    this.#isAnswered = true;
    this.#patience.end(this);
    this.#tellIfOver();
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

  #worked(): void {
    this.#isWorkedOn = false;
    this.#patience.end(this);
    this.#tellIfOver();
  }

  #tellIfOver(): void {
    if (this.#isWorkedOn || !this.#isAnswered) return;
    for (const callback of this.#whenOver) callback();
  }
}

/** The client hung up: nobody has to hear of it. */
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
export type RegistryContext = Context & { state: ExchangeState };
