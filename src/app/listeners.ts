import type { Config } from '../config/schema.ts';
import { Certificate } from '../http/server/certificate.ts';
import { createManagementApp, type Readiness } from '../http/management/management.ts';
import type { OverloadLimits } from '../http/middleware/overload.ts';
import type { ReadBuffers } from '../http/response/read-buffers.ts';
import { createRegistryApp, Listener } from '../http/server/server.ts';
import type { AssembledMirror } from '../mirror/assemble.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Memory } from '../mirror/ports/memory.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';

const managementIdleMs = 60_000;

/** The listener that clients pull from. */
export function registryListener(
  config: Config,
  deps: Pick<AssembledMirror, 'mirror'> & {
    readonly clock: Clock;
    readonly observer: Metrics;
    readonly memory: Memory;
    readonly buffers: ReadBuffers;
    readonly report: (bug: unknown) => void;
    readonly log: Log;
    readonly patienceMs: number | undefined;
  },
): Listener {
  const { tls, host, port } = config.listen;
  const { idleTimeoutMs, maxConnections, maxRequests } = config.clients;
  const limits: OverloadLimits = { maxRequests, isSurplus: (socket) => listener.isSurplus(socket) };
  const app = createRegistryApp({
    ...deps,
    limits,
    log: (line) => deps.log.request(line),
    onClientCredentials: () =>
      deps.log.logger.warn('a client sends credentials: they are ignored, since clients.mode is anonymous'),
  });
  const certificate = tls && new Certificate(tls, { report: deps.report });
  const listener = new Listener(app, {
    name: 'registry listener',
    host,
    port,
    certificate,
    idleTimeoutMs,
    maxConnections,
    onRejected: (reason) => deps.observer.rejected({ reason }),
  });
  return listener;
}

/** The listener for probes and metrics. */
export function managementListener(
  config: Config,
  {
    readiness,
    observer,
    report,
  }: { readiness: () => Promise<Readiness>; observer: Metrics; report: (bug: unknown) => void },
): Listener {
  const metrics = async () => ({ contentType: observer.contentType, text: await observer.text() });
  const app = createManagementApp({ readiness, metrics, report });
  const { host, port } = config.management;
  return new Listener(app, { name: 'management listener', host, port, idleTimeoutMs: managementIdleMs });
}
