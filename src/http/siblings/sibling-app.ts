import type { ServerResponse } from 'node:http';
import Koa from 'koa';
import type { Memory } from '../../mirror/ports/memory.ts';
import type { Observer, SiblingServedOutcome } from '../../mirror/ports/observer.ts';
import type { Tracing } from '../../mirror/ports/tracing.ts';
import { answerErrors, reportUnlessDisconnected } from '../middleware/errors.ts';
import {
  checkRequests,
  type OverloadLimits,
  refuseAmbiguousRequest,
  refuseOverload,
} from '../middleware/request-checks.ts';
import { servedRequest } from '../middleware/traced-request.ts';
import type { Handler } from '../server/context.ts';
import { Exchange, RequestDeadline, unmapped } from '../server/exchange.ts';
import { LargeBodies } from '../response/memory-bodies.ts';
import { requireSecret, type SecretCheck } from './secret-check.ts';
import { answerSibling, type SiblingAnswersDeps, type SiblingState } from './sibling-answers.ts';

export interface SiblingAppDeps extends Omit<SiblingAnswersDeps, 'large'> {
  readonly secrets: Pick<SecretCheck, 'accepts'>;
  readonly memory: Memory;
  readonly limits: OverloadLimits;
  readonly observer: Pick<Observer, 'siblingServed'>;
  readonly report: (bug: unknown) => void;
  /** By default requests are not traced. */
  readonly tracing?: Pick<Tracing, 'serve'> | undefined;
}

const messages = { connections: 'too many connections', requests: 'too many requests' };

/** The Koa app that other replicas read from, with its middleware in order. Nothing of a request is looked at before its secret. */
export function createSiblingApp(deps: SiblingAppDeps): Koa<SiblingState> {
  const { report, secrets, limits, tracing } = deps;
  const app = new Koa<SiblingState>();
  const large = new LargeBodies({ ...deps, reset: (socket) => limits.connections.reset(socket) });
  const answers = { ...deps, large };
  app.on('error', reportUnlessDisconnected(report));
  app.use(recordRequests(deps));
  app.use(answerErrors(report));
  app.use(requireSecret(secrets));
  if (tracing) app.use(traceRequests(tracing));
  const overload = refuseOverload({ ...limits, messages }, { observer: { rejected: () => {} } }); // Counted by its status.
  app.use(checkRequests([refuseAmbiguousRequest, overload]));
  app.use((ctx) => answerSibling(ctx, answers));
  return app;
}

/** Begins the exchange of every request, and counts it when the answer has ended. */
function recordRequests({ observer }: Pick<SiblingAppDeps, 'observer'>): Handler<SiblingState> {
  const deadline = new RequestDeadline();
  return (ctx, next) => {
    const { res } = ctx;
    const exchange = new Exchange(res, deadline);
    ctx.state = { exchange };
    res.once('close', () => {
      exchange.end();
      observer.siblingServed({ kind: ctx.state.siblingKind ?? 'other', outcome: outcomeOf(res) });
    });
    return next();
  };
}

function traceRequests({ serve }: Pick<Tracing, 'serve'>): Handler<SiblingState> {
  return (ctx, next) => {
    const { req, res } = ctx;
    return serve(servedRequest(req, { from: 'sibling', client: unmapped(req.socket.remoteAddress) }), (span) => {
      res.once('close', () => {
        const { siblingKind: kind = 'other' } = ctx.state;
        const attributes = { 'layerwell.request.kind': kind, 'layerwell.sibling.outcome': outcomeOf(res) };
        span.end({ status: res.statusCode, route: `/v1/${kind}`, attributes });
      });
      return next();
    });
  };
}

function outcomeOf({ statusCode: status, writableFinished: isComplete }: ServerResponse): SiblingServedOutcome {
  return servedOutcome({ status, isComplete });
}

/** How the answer to a sibling ended, for the metric. Pure. */
export function servedOutcome({
  status,
  isComplete,
}: {
  readonly status: number;
  readonly isComplete: boolean;
}): SiblingServedOutcome {
  if (!isComplete) return 'cut';
  if (status < 300) return 'ok';
  if (status === 404) return 'missing';
  if (status === 401) return 'refused';
  if (status === 503) return 'rejected';
  return status < 500 ? 'invalid' : 'failed';
}
