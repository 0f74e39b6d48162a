import type { ServerResponse } from 'node:http';
import type { Context } from 'koa';
import type { CacheWord, Observer, Waiting } from '../mirror/ports.ts';
import { UpstreamError } from '../oci/errors.ts';

type AnsweredEvent = Parameters<Observer['answered']>[0];

/** containerd gives up on an answer whose headers take 30 s (containerd #13164): until then it must know where it stands. */
const maxPatienceMs = 25_000;

/**
 * One request and what became of it: filled on the way, read once when the answer is over, for the log and the metrics.
 * It is also the client's patience: its signal aborts when the client leaves, or when headers have not left within 25 s, whatever
 * waits; it is only made when somebody waits.
 */
export class Exchange implements Waiting {
  readonly startedAt = performance.now();
  kind: AnsweredEvent['kind'] = 'other';
  cache: CacheWord = 'none';
  upstream = 'none';
  repository: string | undefined;
  reference: string | undefined;
  bytes = 0;
  readonly #response: ServerResponse;
  readonly #patienceMs: number;
  readonly #whenOver: (() => void)[] = [];
  #controller: AbortController | undefined;
  #patience: NodeJS.Timeout | undefined;
  #firstByteAt: number | undefined;

  constructor(
    response: ServerResponse,
    { patienceMs = maxPatienceMs }: { readonly patienceMs?: number | undefined } = {},
  ) {
    this.#response = response;
    this.#patienceMs = patienceMs;
  }

  get firstByteAt(): number | undefined {
    return this.#firstByteAt;
  }

  /** The headers leave: from here on the client sees for itself how it goes. */
  begin(): void {
    this.#firstByteAt = performance.now();
    clearTimeout(this.#patience);
  }

  /** Calls back when the answer is over, complete or cut: a listener on the response would cost each request more. */
  whenOver(callback: () => void): void {
    this.#whenOver.push(callback);
  }

  /** The answer is over. */
  end(): void {
    for (const callback of this.#whenOver) callback();
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      const controller = new AbortController();
      this.#controller = controller;
      const leave = () => {
        clearTimeout(this.#patience);
        controller.abort(new ClientLeft());
      };
      const giveUp = () => controller.abort(new UpstreamError('timeout', 'no answer came in time'));
      if (this.#firstByteAt === undefined) this.#patience = setTimeout(giveUp, this.#patienceMs).unref();
      if (this.#response.destroyed) leave();
      else this.#response.once('close', leave);
    }
    return this.#controller.signal;
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
