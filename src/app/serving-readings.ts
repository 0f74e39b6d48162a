import type { RunningRequests } from '../http/middleware/access-log.ts';
import { endOfCertificate } from '../http/server/certificate.ts';
import type { Listener } from '../http/server/listener.ts';
import type { AssembledMirror } from '../mirror/mirror-parts.ts';
import type { CertificateReading, ServingReadings } from '../telemetry/readouts.ts';
import type { ReadyPart } from './ready-part.ts';
import type { UpstreamHealth } from './upstream-health.ts';
import type { Upstreams } from './upstreams.ts';

type EndOfCertificate = Partial<Pick<Listener, 'certificateEndsAtMs'>>;

export interface ServingReadingsDeps {
  readonly ready: Pick<ReadyPart, 'isDraining'>;
  readonly registry: EndOfCertificate & Pick<Listener, 'openConnections'>;
  readonly siblings: EndOfCertificate;
  readonly running: RunningRequests;
  readonly health: Pick<UpstreamHealth, 'lastSuccesses'>;
  readonly upstreams: Pick<Upstreams, 'directory'>;
  readonly mirror: Pick<AssembledMirror, 'waitingFor'>;
}

/** What metrics read of the listeners and the upstreams. Nothing waits. */
export function servingReadings(deps: ServingReadingsDeps): ServingReadings {
  const { ready, registry, running, health, upstreams, mirror } = deps;
  return {
    isDraining: () => ready.isDraining,
    openConnections: () => registry.openConnections,
    requests: () => running.byKind(),
    upstreams: () =>
      health.lastSuccesses().map((reading) => ({
        ...reading,
        running: upstreams.directory.running(reading.upstream),
        connections: upstreams.directory.connectionUse(reading.upstream),
        waiting: mirror.waitingFor(reading.upstream),
      })),
    certificates: () => certificatesOf(deps),
  };
}

function certificatesOf({ registry, siblings, upstreams }: ServingReadingsDeps): readonly CertificateReading[] {
  const listener = (use: 'clients' | 'siblings', from: EndOfCertificate): readonly CertificateReading[] => {
    const endsAtMs = from.certificateEndsAtMs;
    return endsAtMs === undefined ? [] : [{ use, upstream: 'none', endsAtMs }];
  };
  const ofUpstreams = [...upstreams.directory.clientCertificates].map(
    ([upstream, pem]) => ({ use: 'upstream', upstream, endsAtMs: endOfCertificate(pem) }) as const,
  );
  return [...listener('clients', registry), ...listener('siblings', siblings), ...ofUpstreams];
}
