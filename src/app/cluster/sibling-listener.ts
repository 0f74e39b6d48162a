import type { Config } from '../../config/schema.ts';
import { ReadBuffers } from '../../http/response/body-pump.ts';
import { Certificate } from '../../http/server/certificate.ts';
import { Connections } from '../../http/server/connections.ts';
import { Listener } from '../../http/server/listener.ts';
import type { SecretCheck } from '../../http/siblings/secret-check.ts';
import { createSiblingApp } from '../../http/siblings/sibling-app.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Memory } from '../../mirror/ports/memory.ts';
import type { Tracing } from '../../mirror/ports/tracing.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { reportRenewal } from '../listeners.ts';

export interface SiblingListenerDeps {
  readonly mirror: Mirror;
  readonly secrets: SecretCheck;
  readonly replicaId: string;
  readonly clients: Pick<Config['clients'], 'idleTimeoutMs' | 'maxConnections' | 'maxRequests'>;
  readonly clock: Clock;
  readonly memory: Memory;
  readonly observer: Metrics;
  readonly log: Log;
  readonly tracing?: Tracing | undefined;
}

/** A replica that reads nothing for this long is frozen, or gone. */
const maxIdleMs = 30_000;

/** The listener that other replicas read from. Its limits are those of the clients' listener, each counted by itself. */
export function siblingListener(
  { listen: { host, port, tls } }: NonNullable<Config['cluster']>,
  { clients, log, ...deps }: SiblingListenerDeps,
): Listener {
  const report = (error: unknown) => log.logger.error({ err: error }, 'unexpected error');
  const connections = new Connections({ max: clients.maxConnections });
  const app = createSiblingApp({
    ...deps,
    buffers: new ReadBuffers(deps),
    limits: { maxRequests: clients.maxRequests, connections },
    report,
  });
  const certificate = tls && new Certificate(tls, { report: reportRenewal(log) });
  return new Listener(app, {
    name: 'sibling listener',
    host,
    port,
    certificate,
    ignoresBodies: true,
    idleTimeoutMs: Math.min(clients.idleTimeoutMs, maxIdleMs),
    connections,
    onRejected: () => deps.observer.siblingServed({ kind: 'other', outcome: 'rejected' }),
  });
}
