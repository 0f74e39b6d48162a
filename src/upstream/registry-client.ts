import type { Clock } from '../mirror/ports/clock.ts';
import type { Memory } from '../mirror/ports/memory.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import type { Tracing } from '../mirror/ports/tracing.ts';
import type { Upstream, UpstreamMonitor } from '../mirror/ports/upstream.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import { type FailureReason, UpstreamError } from '../oci/errors.ts';
import { createCircuitBreaker } from './failover/circuit-breaker.ts';
import {
  type Connections,
  type ConnectionUse,
  createConnections,
  type HostLookups,
  type Origins,
  sumOfUses,
} from './transport/connections.ts';
import { createCloudAgents } from './transport/proxy.ts';
import {
  createEndpoint,
  createEndpoints,
  type EndpointDeps,
  type Breaker,
  requestsTo,
  sendTo,
} from './failover/endpoints.ts';
import { type EndpointProbe, probeEndpoint } from './probe.ts';
import { createRetry, type EndpointRole, type Pauses, realPauses } from './failover/retry.ts';
import type { UpstreamSettings } from './settings.ts';
import { createLimitedLookup, createSharedLookup, type Lookup } from './lookup/shared-lookup.ts';
import { createStaleLookup } from './lookup/stale-lookup.ts';
import { tellingEnds } from './api/manifests.ts';
import { createPing, pingInTurn } from './api/ping.ts';
import { askVisibility } from './api/visibility.ts';

export interface RegistryClientDeps {
  /** The name that clients use. */
  readonly name: string;
  /** The key of its entry in the configuration. */
  readonly label: string;
  readonly settings: UpstreamSettings;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Learns what the registry and its mirrors answer. */
  readonly monitor?: UpstreamMonitor | undefined;
  /** Buffered response bytes count against it. */
  readonly memory?: Memory | undefined;
  readonly tracing?: Pick<Tracing, 'ask'> | undefined;
  /** The pauses before retries. */
  readonly pauses?: Pauses;
  /** Shared with other upstreams; absent: one of its own. */
  readonly lookup?: Lookup;
  /** Looks up hosts that are not in the configuration; by default one at a time. */
  readonly lookupElsewhere?: Lookup;
}

/** One registry the mirror pulls from, with its sockets. */
export interface RegistryClient extends Upstream {
  /** Pings the mirrors and then the registry, with every account. */
  probe(options: Waiting): Promise<readonly EndpointProbe[]>;
  /** Pings the mirrors and then the registry, anonymously, until one answers: the monitor and the observer learn of it. */
  ping(options: Waiting): Promise<void>;
  /** How many requests run or wait for a connection. */
  running(): number;
  connectionUse(): ConnectionUse;
  /** Closes each connection after its running requests. Later requests open new ones. */
  retire(): Promise<void>;
  /** Closes all connections and aborts their requests. */
  close(): Promise<void>;
}

/**
 * The pull part of the distribution API of one registry, through its mirrors if it has any.
 * Source: OCI distribution-spec v1.1.1, "Pull" and "Content Discovery".
 */
export function createRegistryClient(deps: RegistryClientDeps): RegistryClient {
  const { name, label, settings, clock, pauses = realPauses } = deps;
  const connections = openConnections(settings, originsOf(deps), lookupsOf(deps));
  const closing = new AbortController();
  const { registry, mirrors } = addressesOf(deps, connections.pulls, closing.signal);
  const breakerOf = createBreakers(deps, connections.pings, closing);
  const breaker = breakerOf(registry, 'registry');
  const onRetry = (reason: FailureReason) => deps.observer.upstreamRetried({ upstream: label, reason });
  const retry = createRetry('registry', pauses, onRetry);
  const retryMirror = createRetry('mirror', pauses, onRetry);
  const endpoints = createEndpoints({
    clock,
    mirrors: mirrors.map((mirror) => ({
      endpoint: createEndpoint(mirror, { breaker: breakerOf(mirror, 'mirror'), retry: retryMirror }),
      tags: mirror.tags,
    })),
    registry: createEndpoint(registry, { breaker, retry }),
  });
  const addresses = [...mirrors, registry].map((one) => ({ url: one.url, send: sendTo(one) }));
  const anonymously = requestsTo({ ...registry, connections: connections.anonymous, credentials: [] });
  return {
    name,
    label,
    maxConnections: settings.maxConnections,
    ...endpoints,
    ...tellingEnds(endpoints, (result) => deps.observer.manifestDownloaded({ result })),
    probe: (options) => Promise.all([...mirrors, registry].map((one) => probeEndpoint(one, options))),
    ping: (options) => pingInTurn(addresses, options),
    askVisibility: (repository, reference, options) => {
      const question = { signal: options.signal, repository, resource: 'visibility' };
      const ask = () => askVisibility(anonymously, repository, reference, options);
      return breaker.guard(question, () => ask().catch((cause: unknown) => retry(cause, question, ask)));
    },
    running: () => connections.running(),
    connectionUse: () => connections.use(),
    retire: () => connections.retire(),
    close: () => {
      closing.abort(new UpstreamError('busy', 'the upstream is being closed'));
      return connections.close();
    },
  };
}

/** Lookups of the hosts in the configuration, and of all others: both fall back to previous addresses. */
function lookupsOf({
  clock,
  lookup = createSharedLookup({ clock }),
  lookupElsewhere,
}: RegistryClientDeps): HostLookups {
  return {
    lookup: createStaleLookup({ clock, lookup }),
    lookupElsewhere: createStaleLookup({ clock, lookup: lookupElsewhere ?? createLimitedLookup(lookup) }),
  };
}

function urlOf({ name, settings }: RegistryClientDeps): URL {
  return new URL(settings.url ?? `https://${name}`);
}

/** The URLs of the registry and its mirrors, by how far they are trusted. */
function originsOf(deps: RegistryClientDeps): Origins {
  const { name, label, settings } = deps;
  const url = urlOf(deps);
  const mirrors = (settings.mirrors ?? []).map((mirror) => new URL(mirror.url));
  // A name that matched a pattern was chosen by a client: it may not lead to private addresses.
  const exact = name === label || settings.url !== undefined ? [url] : [];
  const named = settings.hosts === 'any' && exact.length === 0 ? [] : [url];
  return { own: [url, ...mirrors], exact: [...exact, ...mirrors], named: [...named, ...mirrors] };
}

/** The registry and its mirrors, each as an endpoint is made from it. */
function addressesOf(deps: RegistryClientDeps, connections: Connections, closing: AbortSignal) {
  const { name, label, settings, clock, observer, monitor, memory, tracing } = deps;
  const { credentials, repositoryPrefix, sendTraceContext } = settings;
  const cloudAgents = createCloudAgents(settings);
  const telling = { observer, monitor, tracing };
  const common = { name, label, connections, cloudAgents, settings, clock, ...telling, memory, closing };
  const own = { url: urlOf(deps), credentials, repositoryPrefix, forwardNs: false, sendTraceContext };
  const registry: EndpointDeps = { ...common, ...own };
  const mirrors = (settings.mirrors ?? []).map((mirror) => ({
    ...common,
    ...mirror,
    url: new URL(mirror.url),
    repositoryPrefix: undefined,
  }));
  return { registry, mirrors };
}

interface ClientConnections {
  readonly pulls: Connections;
  /** Without a client certificate, for requests without an account. */
  readonly anonymous: Connections;
  /** One of its own for pings: pulls that occupy all others must not make the registry seem down. */
  readonly pings: Connections;
  running(): number;
  use(): ConnectionUse;
  retire(): Promise<void>;
  close(): Promise<void>;
}

function openConnections(settings: UpstreamSettings, origins: Origins, lookups: HostLookups): ClientConnections {
  const pulls = createConnections(settings, origins, lookups);
  const anonymous = createConnections(withoutCertificate(settings), origins, lookups);
  const pings = createConnections({ ...settings, maxConnections: 1 }, origins, lookups);
  const all = [pulls, anonymous, pings];
  return {
    pulls,
    anonymous,
    pings,
    running: () => all.reduce((sum, one) => sum + one.running(), 0),
    use: () => sumOfUses(all.map((one) => one.use())),
    retire: async () => {
      await Promise.all(all.map((one) => one.retire()));
    },
    close: async () => {
      await Promise.all(all.map((one) => one.close()));
    },
  };
}

/** Makes the circuit breaker of each endpoint of one upstream. */
function createBreakers({ label, clock, observer }: RegistryClientDeps, pings: Connections, closing: Waiting) {
  return (endpoint: EndpointDeps, role: EndpointRole): Breaker => {
    const ping = createPing({ url: endpoint.url, send: sendTo({ ...endpoint, connections: pings }), clock }, closing);
    return createCircuitBreaker({ label, clock, observer, host: endpoint.url.host, role, ping });
  };
}

function withoutCertificate(settings: UpstreamSettings): UpstreamSettings {
  return { ...settings, tls: { ...settings.tls, certificate: undefined, key: undefined } };
}
