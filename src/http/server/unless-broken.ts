import type { Context } from 'koa';

/**
 * What to do with the errors that Koa emits. It also tells of connections that break, which is the client's affair: its answer is
 * counted as cut, and nobody is woken up.
 */
export function unlessBroken(report: (bug: unknown) => void): (error: unknown, ctx?: Pick<Context, 'req'>) => void {
  return (error, ctx) => {
    if (ctx?.req.socket.destroyed !== true) report(error);
  };
}
