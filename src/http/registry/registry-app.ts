import type Koa from 'koa';
import type { Mirror } from '../../mirror/mirror.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Memory } from '../../mirror/ports/memory.ts';
import { OciError } from '../../oci/errors.ts';
import { type AccessLogDeps, recordRequests } from '../middleware/access-log.ts';
import { answerErrors, KoaOfSteps, reportUnlessDisconnected } from '../middleware/errors.ts';
import {
  checkRequests,
  noticeCredentials,
  type OverloadLimits,
  refuseAmbiguousRequest,
  refuseOverload,
} from '../middleware/request-checks.ts';
import { LargeBodies, SmallBodies } from '../response/memory-bodies.ts';
import type { ReadBuffers } from '../response/body-pump.ts';
import type { ExchangeState, Step } from '../server/exchange.ts';
import { registryRoutes } from './routes.ts';

export interface RegistryAppDeps extends AccessLogDeps {
  readonly mirror: Mirror;
  readonly clock: Clock;
  readonly buffers: ReadBuffers;
  readonly memory: Memory;
  readonly report: (bug: unknown, requestId?: string) => void;
  readonly limits: OverloadLimits;
  /** Answers what is no path of the registry, if it is a browser that asks. */
  readonly pages?: Step | undefined;
  /** Called once, when the first client sends credentials, which are ignored. */
  readonly onClientCredentials: () => void;
}

/** The Koa app of `/v2/`, with its middleware in order. */
export function createRegistryApp(deps: RegistryAppDeps): Koa<ExchangeState> {
  const large = new LargeBodies({ ...deps, reset: (socket) => deps.limits.connections.reset(socket) });
  const app = new KoaOfSteps([
    recordRequests(deps),
    answerErrors(deps.report),
    checkRequests([
      refuseAmbiguousRequest,
      refuseOverload(deps.limits, deps),
      noticeCredentials(deps.onClientCredentials),
    ]),
    registryRoutes({ ...deps, small: new SmallBodies(), large }),
    ...(deps.pages ? [deps.pages] : []),
    () => {
      throw new OciError('NAME_UNKNOWN', 'unknown path: not part of the distribution API');
    },
  ]);
  app.on('error', reportUnlessDisconnected(deps.report));
  return app;
}
