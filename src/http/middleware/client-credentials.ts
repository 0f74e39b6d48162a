import type { Middleware } from 'koa';
import type { ExchangeState } from '../registry/exchange.ts';

/**
 * Reports the first request that has credentials. Clients are anonymous: `/v2/` sends no challenge, since dockerd would answer it with the
 * user's Docker Hub password. So `docker login` succeeds with any password. The header is neither used nor logged.
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
