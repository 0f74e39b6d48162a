import type { Middleware } from 'koa';
import type { Observer } from '../../mirror/ports/observer.ts';
import { Exchange, type ExchangeState, RequestDeadline } from '../registry/exchange.ts';

/** One line of the access log. */
export interface AccessLine {
  readonly method: string;
  /** Without the query, which may contain secrets. */
  readonly path: string;
  readonly status: number;
  readonly cache: string;
  /** Why something stale was served: the reason that the upstream gave no answer, or `gone`. */
  readonly staleReason: string | undefined;
  readonly upstream: string;
  readonly repository: string | undefined;
  readonly reference: string | undefined;
  readonly bytes: number;
  readonly durationMs: number;
  readonly client: string | undefined;
  readonly userAgent: string | undefined;
  readonly aborted: boolean;
}

export interface AccessLog {
  request(line: AccessLine): void;
}

export interface AccessLogDeps {
  readonly observer: Observer;
  readonly log: AccessLog;
  /** The request deadline; for tests. */
  readonly requestDeadlineMs?: number | undefined;
}

/** Begins the exchange of every request, and logs and counts it when the answer has ended, complete or cut. */
export function recordRequests({ observer, log, requestDeadlineMs }: AccessLogDeps): Middleware<ExchangeState> {
  const deadline = new RequestDeadline({ deadlineMs: requestDeadlineMs });
  return (ctx, next) => {
    const exchange = new Exchange(ctx.res, deadline);
    ctx.state = { exchange };
    const { req, res } = ctx;
    res.once('close', () => {
      exchange.end();
      const endedAt = performance.now();
      const durationMs = endedAt - exchange.startedAt;
      const { kind, cache, staleReason, upstream, repository, reference, bytes } = exchange;
      const method = req.method ?? '';
      const status = res.statusCode;
      const aborted = !res.writableFinished;
      const firstByteMs = (exchange.firstByteAt ?? endedAt) - exchange.startedAt;
      observer.answered({ kind, method, status, cache, upstream, bytes, durationMs, firstByteMs, aborted });
      log.request({
        method,
        path: pathOf(req.url ?? ''),
        status,
        cache,
        staleReason,
        upstream,
        repository,
        reference,
        bytes,
        durationMs: Math.round(durationMs * 100) / 100,
        client: req.socket.remoteAddress,
        userAgent: req.headers['user-agent'],
        aborted,
      });
    });
    return next();
  };
}

function pathOf(target: string): string {
  const question = target.indexOf('?');
  return question === -1 ? target : target.slice(0, question);
}
