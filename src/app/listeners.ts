import type { Config } from '../config/schema.ts';
import { readToken } from '../config/loading/files.ts';
import { leastSecretBytes } from '../config/sections/cluster.ts';
import type { Administration } from '../http/management/api/routes.ts';
import { createManagementApp, type Readiness } from '../http/management/management.ts';
import { ManagementPages } from '../http/management/pages/pages.ts';
import { publicPages } from '../http/management/pages/public-pages.ts';
import { maxArriving } from '../http/management/request-body.ts';
import { type RecentRequests, RunningRequests } from '../http/middleware/access-log.ts';
import { createRegistryApp } from '../http/registry/registry-app.ts';
import { ReadBuffers } from '../http/response/body-pump.ts';
import { Certificate } from '../http/server/certificate.ts';
import { Connections } from '../http/server/connections.ts';
import { Listener } from '../http/server/listener.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Memory } from '../mirror/ports/memory.ts';
import type { Tracing } from '../mirror/ports/tracing.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';

export interface ListenersDeps {
  readonly mirror: Mirror;
  readonly clock: Clock;
  readonly observer: Metrics;
  readonly memory: Memory;
  readonly log: Log;
  readonly readiness: () => Promise<Readiness>;
  readonly administration: Administration;
  readonly recent: RecentRequests;
  readonly requestDeadlineMs: number | undefined;
  readonly tracing: Tracing | undefined;
}

export interface Listeners {
  /** The listener that clients pull from. */
  readonly registry: Listener;
  /** The listener for probes and metrics. */
  readonly management: Listener;
  /** The requests of clients in progress. */
  readonly running: RunningRequests;
}

const managementIdleMs = 60_000;
/** More than the bodies that may arrive at the same time, for the API and for pages, and all answers that may run: these leave room for others. */
const managementConnections = 3 * maxArriving;
/** Archives of any size are sent to the API; all other bodies have seconds. */
const managementRequestMs = 24 * 3_600_000;

export function createListeners(config: Config, deps: ListenersDeps): Listeners {
  const report = (error: unknown, requestId?: string) =>
    deps.log.logger.error({ err: error, requestId }, 'unexpected error');
  const running = new RunningRequests();
  const registry = registryListener(config, { ...deps, report, running });
  return { running, registry, management: managementListener(config, { ...deps, report, registry }) };
}

type Reporting = ListenersDeps & { readonly report: (bug: unknown, requestId?: string) => void };

function registryListener(config: Config, deps: Reporting & Pick<Listeners, 'running'>): Listener {
  const { memory, observer, log } = deps;
  const { tls, host, port } = config.listen;
  const { idleTimeoutMs, maxConnections, maxRequests, trustedProxies, forwardedHeader } = config.clients;
  const connections = new Connections({ max: maxConnections });
  const isTls = tls !== undefined;
  const pages = config.management.pages === 'public' ? publicPages({ ...deps, isTls }) : undefined;
  const app = createRegistryApp({
    ...deps,
    pages,
    buffers: new ReadBuffers({ memory }),
    limits: { maxRequests, connections },
    trustedProxies: trustedProxies.length === 0 ? undefined : { addresses: trustedProxies, header: forwardedHeader },
    onClientCredentials: () =>
      log.logger.warn('a client sends credentials: they are ignored, since clients.mode is anonymous'),
  });
  const certificate = tls && new Certificate(tls, { report: reportRenewal(log) });
  return new Listener(app, {
    name: 'registry listener',
    host,
    port,
    certificate,
    ignoresBodies: true,
    idleTimeoutMs,
    connections,
    onRejected: (reason) => observer.rejected({ reason }),
    onCut: (reason) => observer.rejected({ reason }),
  });
}

function managementListener(config: Config, deps: Reporting & Pick<Listeners, 'registry'>): Listener {
  const { readiness, observer, report, administration, log, clock, registry } = deps;
  const metrics = async () => ({ contentType: observer.contentType, text: await observer.text() });
  const { host, port, hosts, tokenFile } = config.management;
  const readToken = tokenFile === undefined ? undefined : () => readTokenIn(tokenFile, log);
  const shared = { report, administration, host, hosts, readToken };
  const clients = () => ({ port: registry.port ?? config.listen.port, isTls: config.listen.tls !== undefined });
  const hasPages = config.management.pages !== 'off';
  const pages = hasPages ? new ManagementPages({ ...shared, clock, clients }) : undefined;
  // The one that is idle longest is closed for a new one, so that silent connections keep no probe out.
  const connections = new Connections({ max: managementConnections, closableAfterIdleMs: 0 });
  const onRefused = () => observer.managementRejected({ reason: 'connections' });
  const app = createManagementApp({ readiness, metrics, ...shared, pages, connections, onRefused });
  const onStopping = () => pages?.end();
  const timeouts = { idleTimeoutMs: managementIdleMs, requestTimeoutMs: managementRequestMs };
  return new Listener(app, {
    name: 'management listener',
    host,
    port,
    ...timeouts,
    connections,
    onRejected: (reason) => observer.managementRejected({ reason }),
    onCut: (reason) => {
      if (reason !== 'tls') observer.managementRejected({ reason }); // It has no TLS.
    },
    onStopping,
  });
}

/** Of a certificate: an operator has put files there that cannot be used. */
export function reportRenewal({ logger }: Pick<Log, 'logger'>): (cause: unknown) => void {
  return (cause) => logger.error({ err: cause }, 'the renewed certificate is not used, the old one stays in use');
}

async function readTokenIn(file: string, log: Log): Promise<string> {
  try {
    return await readToken(file, leastSecretBytes);
  } catch (cause) {
    log.logger.error({ err: cause }, 'the token of the management API cannot be used');
    throw cause;
  }
}
