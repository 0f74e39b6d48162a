import type { Middleware } from 'koa';
import type { ExchangeState } from '../exchange.ts';

/**
 * Notices the first request that brings credentials. Clients are anonymous, so that `docker login` succeeds with any password: `/v2/` asks
 * for none, since dockerd would answer a challenge with the user's password of Docker Hub. The header itself goes nowhere.
 * @param onFirst called once in the life of the process.
 */
export function noticeCredentials(onFirst: () => void): Middleware<ExchangeState> {
  let wasNoticed = false;
  return (ctx, next) => {
    if (!wasNoticed && ctx.req.headers.authorization !== undefined) {
      wasNoticed = true;
      onFirst();
    }
    return next();
  };
}
