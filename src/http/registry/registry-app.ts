import Koa, { type Middleware } from 'koa';
import type { Mirror } from '../../mirror/mirror.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Memory } from '../../mirror/ports/memory.ts';
import { OciError } from '../../oci/errors.ts';
import { type AccessLogDeps, recordRequests } from '../middleware/access-log.ts';
import { answerErrors, reportUnlessDisconnected } from '../middleware/errors.ts';
import {
  checkRequests,
  noticeCredentials,
  type OverloadLimits,
  refuseAmbiguousRequest,
  refuseOverload,
} from '../middleware/request-checks.ts';
import { LargeBodies, SmallBodies } from '../response/memory-bodies.ts';
import type { ReadBuffers } from '../response/body-pump.ts';
import type { ExchangeState } from '../server/exchange.ts';
import { registryRoutes } from './routes.ts';

export interface RegistryAppDeps extends AccessLogDeps {
  readonly mirror: Mirror;
  readonly clock: Clock;
  readonly buffers: ReadBuffers;
  readonly memory: Memory;
  readonly report: (bug: unknown, requestId?: string) => void;
  readonly limits: OverloadLimits;
  /** Answers what is no path of the registry, if it is a browser that asks. */
  readonly pages?: Middleware<ExchangeState> | undefined;
  /** Called once, when the first client sends credentials, which are ignored. */
  readonly onClientCredentials: () => void;
}

/** The Koa app of `/v2/`, with its middleware in order. */
export function createRegistryApp(deps: RegistryAppDeps): Koa<ExchangeState> {
  const app = new Koa<ExchangeState>();
  const large = new LargeBodies({ ...deps, reset: (socket) => deps.limits.connections.reset(socket) });
  app.on('error', reportUnlessDisconnected(deps.report));
  app.use(recordRequests(deps));
  app.use(answerErrors(deps.report));
  app.use(
    checkRequests([
      refuseAmbiguousRequest,
      refuseOverload(deps.limits, deps),
      noticeCredentials(deps.onClientCredentials),
    ]),
  );
  app.use(registryRoutes({ ...deps, small: new SmallBodies(), large }));
  if (deps.pages) app.use(deps.pages);
  app.use(() => {
    throw new OciError('NAME_UNKNOWN', 'unknown path: not part of the distribution API');
  });
  return app;
}
