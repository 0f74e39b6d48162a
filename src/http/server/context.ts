import type { ExtendableContext } from 'koa';

/** A request and its answer. Koa's own `Context` also has a member of any name, of the type any: what is misspelt would compile. */
export interface HttpContext extends ExtendableContext {
  state: object;
}

/** A middleware of Koa. It returns a promise only if something must be waited for. */
export type Handler<State extends object = object> = (
  ctx: HttpContext & { state: State },
  next: () => Promise<void> | void,
) => Promise<void> | void;
