import type { Clock } from '../mirror/ports/clock.ts';
import type { Memory } from '../mirror/ports/memory.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import type { Upstream } from '../mirror/ports/upstream.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import { UpstreamError } from '../oci/errors.ts';
import { createCircuitBreaker, withCircuitBreaker } from './failover/circuit-breaker.ts';
import { createConnections } from './transport/connections.ts';
import { createCloudAgents } from './credentials/kinds/cloud-agents.ts';
import { createEndpoint, type EndpointDeps, type EndpointRole, guarded, requestsTo } from './failover/endpoint.ts';
import { createEndpoints } from './failover/endpoints.ts';
import { createFailingResources } from './failover/failing-resources.ts';
import { knockInTurn } from './failover/knock.ts';
import { admitsAnyHost } from './name-pattern.ts';
import { createPing } from './failover/ping.ts';
import { type EndpointProbe, probeEndpoint } from './probe.ts';
import { createRetry, type Pauses, realPauses } from './failover/retry.ts';
import type { UpstreamSettings } from './settings.ts';
import { createLimitedLookup } from './lookup/limited-lookup.ts';
import { createSharedLookup, type Lookup } from './lookup/shared-lookup.ts';
import { createStaleLookup } from './lookup/stale-lookup.ts';
import { askVisibility } from './api/visibility.ts';

export interface RegistryClientDeps {
  /** As clients write it. */
  readonly name: string;
  /** The key of its entry in the configuration. */
  readonly label: string;
  readonly settings: UpstreamSettings;
  readonly clock: Clock;
  readonly observer: Observer;
  /** What is held of answers counts against it. */
  readonly memory?: Memory | undefined;
  /** Before something is asked again. */
  readonly pauses?: Pauses;
  /** Shared with other upstreams; absent: its own. */
  readonly lookup?: Lookup;
  /** Of hosts that the operator did not write down; by default one at a time. */
  readonly lookupElsewhere?: Lookup;
}

/** One registry the mirror pulls from, with its sockets. */
export interface RegistryClient extends Upstream {
  /** Knocks at the mirrors and then at the registry, with every account. */
  probe(options: Waiting): Promise<readonly EndpointProbe[]>;
  /** Asks for a sign of life, as a stranger: what came of it is told to the observer. */
  knock(options: Waiting): Promise<void>;
  /** Closes its connections once what is under way on them has ended; it can still be asked, over new ones. */
  retire(): Promise<void>;
  /** Drops its connections and whatever is under way on them. */
  close(): Promise<void>;
}

/**
 * The pull half of the distribution API of one registry, by way of its mirrors where it has any.
 * Source: OCI distribution-spec v1.1.1, "Pull" and "Content Discovery".
 */
export function createRegistryClient(deps: RegistryClientDeps): RegistryClient {
  const { name, label, settings, clock, observer, memory, pauses = realPauses } = deps;
  const { lookup = createSharedLookup({ clock }) } = deps;
  const { lookupElsewhere = createLimitedLookup(lookup) } = deps;
  const lookups = {
    lookup: createStaleLookup({ clock, lookup }),
    lookupElsewhere: createStaleLookup({ clock, lookup: lookupElsewhere }),
  };
  const url = new URL(settings.url ?? `https://${name}`);
  const mirrors = (settings.mirrors ?? []).map((mirror) => ({ ...mirror, url: new URL(mirror.url) }));
  // A name that a pattern admitted was chosen by a client: it may not lead to private addresses.
  const exact = name === label || settings.url !== undefined ? [url] : [];
  const mirrorUrls = mirrors.map((mirror) => mirror.url);
  const named = admitsAnyHost(label) && exact.length === 0 ? [] : [url];
  const origins = {
    own: [url, ...mirrorUrls],
    exact: [...exact, ...mirrorUrls],
    named: [...named, ...mirrorUrls],
  };
  const connections = createConnections(settings, origins, lookups);
  const anonymous = createConnections(withoutCertificate(settings), origins, lookups);
  const cloudAgents = createCloudAgents(settings);
  const common = { name, label, connections, cloudAgents, settings, clock, observer, memory };
  const { credentials, repositoryPrefix } = settings;
  const registryDeps: EndpointDeps = { ...common, url, credentials, repositoryPrefix, forwardNs: false };
  const mirrorDeps = mirrors.map((mirror) => ({ ...common, ...mirror, repositoryPrefix: undefined }));
  // What holds all connections for pulls must not keep the registry from saying that it is there.
  const pings = createConnections({ ...settings, maxConnections: 1 }, origins, lookups);
  const closing = new AbortController();
  const breakerOf = (endpoint: EndpointDeps, role: EndpointRole) =>
    createCircuitBreaker({
      ...common,
      host: endpoint.url.host,
      role,
      ping: createPing({ ...endpoint, connections: pings }, closing),
    });
  const breaker = breakerOf(registryDeps, 'registry');
  const [retry, retryMirror] = [createRetry('registry', pauses), createRetry('mirror', pauses)];
  const endpoints = createEndpoints({
    clock,
    mirrors: mirrorDeps.map((mirror) => ({
      endpoint: withCircuitBreaker(
        guarded(guarded(createEndpoint(mirror), retryMirror), createFailingResources({ clock })),
        breakerOf(mirror, 'mirror'),
      ),
      tags: mirror.tags,
    })),
    registry: withCircuitBreaker(
      guarded(guarded(createEndpoint(registryDeps), retry), createFailingResources({ clock })),
      breaker,
    ),
  });
  const asAnonymous = requestsTo({ ...registryDeps, connections: anonymous, credentials: [] });
  return {
    name,
    label,
    maxConnections: settings.maxConnections,
    ...endpoints,
    probe: (options) => Promise.all([...mirrorDeps, registryDeps].map((one) => probeEndpoint(one, options))),
    knock: (options) => knockInTurn([...mirrorDeps, registryDeps], options),
    askVisibility: (repository, reference, options) => {
      const question = { signal: options.signal, repository, resource: 'visibility' };
      return breaker.guard(question, () =>
        retry(question, () => askVisibility(asAnonymous, repository, reference, options)),
      );
    },
    retire: async () => {
      await Promise.all([connections.retire(), anonymous.retire(), pings.retire()]);
    },
    close: async () => {
      closing.abort(new UpstreamError('busy', 'the upstream is being closed'));
      await Promise.all([connections.close(), anonymous.close(), pings.close()]);
    },
  };
}

/** Requests without an account use connections that show no client certificate. */
function withoutCertificate(settings: UpstreamSettings): UpstreamSettings {
  return { ...settings, tls: { ...settings.tls, certificate: undefined, key: undefined } };
}
