import type { ServerResponse } from 'node:http';
import type { Context } from 'koa';
import type { CacheWord, Observer, Waiting } from '../mirror/ports.ts';

type AnsweredEvent = Parameters<Observer['answered']>[0];

/**
 * One request and what became of it: filled on the way, read once when the answer is over, for the log and the metrics.
 * It is also the client's patience: its signal aborts when the client leaves, and is only made when somebody waits.
 */
export class Exchange implements Waiting {
  readonly startedAt = performance.now();
  kind: AnsweredEvent['kind'] = 'other';
  cache: CacheWord = 'none';
  upstream = 'none';
  repository: string | undefined;
  reference: string | undefined;
  bytes = 0;
  firstByteAt: number | undefined;
  readonly #response: ServerResponse;
  #controller: AbortController | undefined;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      const controller = new AbortController();
      this.#controller = controller;
      const leave = () => controller.abort(new ClientLeft());
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
