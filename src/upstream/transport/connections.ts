import { isIP, type LookupFunction } from 'node:net';
import { getCACertificates } from 'node:tls';
import { Agent, type Dispatcher, Pool, ProxyAgent } from 'undici';
import { UpstreamError } from '../../oci/errors.ts';
import { withoutBrackets } from '../../oci/reference.ts';
import { createPrivateAddressCheck, type IsPrivateAddress, publicLookup } from '../lookup/private-addresses.ts';
import { forSockets, type Lookup } from '../lookup/shared-lookup.ts';
import type { UpstreamSettings } from '../settings.ts';
import { hostAndPort, hostMatcher } from './hosts.ts';
import { ForbiddenAddress } from './network-errors.ts';
import { createProxyChoice, type ProxyOf } from './proxy.ts';

/** The open connections to an upstream, and the requests that wait for one. */
export interface ConnectionUse {
  readonly busy: number;
  readonly idle: number;
  readonly waiting: number;
}

/** The connections to one upstream and to the hosts that it redirects to. */
export interface Connections {
  /**
   * The dispatcher for a request to `url`.
   * @throws UpstreamError misbehaving for an address that is not allowed.
   */
  dispatcherFor(url: URL): Dispatcher;
  /**
   * Counts a request to `url` until the returned function is called.
   * @throws UpstreamError busy when as many requests wait for a connection to that host and port as there are connections.
   */
  enter(url: URL): () => void;
  /** How many requests {@link enter} counts now. */
  running(): number;
  use(): ConnectionUse;
  /** Closes every connection when its requests have ended. Later requests use new ones. */
  retire(): Promise<void>;
  /** Drops every connection and its requests. */
  close(): Promise<void>;
}

export interface Origins {
  /** The registry and its mirrors. */
  readonly own: readonly URL[];
  /** Those that are in the configuration without a pattern: they may have private addresses. A name that matched a pattern was chosen by a client. */
  readonly exact: readonly URL[];
  /** Those whose hosts the configuration names, also by a pattern such as `*.pkg.dev`: they may be reached through a proxy; `**` names no host. */
  readonly named: readonly URL[];
}

/** How names are looked up. */
export interface HostLookups {
  /** For hosts in the configuration, without a pattern. */
  readonly lookup: Lookup;
  /** For hosts that the upstream or a client named, also those that match a pattern. */
  readonly lookupElsewhere: Lookup;
}

/**
 * Decides for every host and port how to connect. No agent is shared between upstreams, so that TLS sessions, client certificates
 * and trust never cross over (CVE-2026-58040, CVE-2026-56850).
 *
 *     own      the registry, its mirrors and `realmHosts`: only they get the client certificate
 *     listed   `redirectHosts`; like `own`, they are in the configuration, so they may have private addresses
 *     public   all other hosts that the upstream names: always verified, and every address is checked when connecting, which
 *              also defeats DNS rebinding
 *
 * Node calls `lookup` for names only, so address literals are checked before. Behind a proxy no address is known, so only listed hosts are
 * reached.
 */
export function createConnections(
  settings: UpstreamSettings,
  { own, exact, named }: Origins,
  { lookup, lookupElsewhere }: HostLookups,
): Connections {
  const { realmHosts, redirectHosts } = settings;
  const isPrivate = createPrivateAddressCheck();
  const lookups = {
    any: forSockets(lookup),
    limited: forSockets(lookupElsewhere),
    checked: forSockets(publicLookup(lookupElsewhere, isPrivate)),
  };
  const agents = new Agents(settings, lookups);
  const limit = new RequestLimit(settings.maxConnections);
  const proxyOf = proxyChoiceOf(settings);
  const isOwn = hostMatcher([...own.map(hostAndPort), ...realmHosts]);
  const isListed = hostMatcher(redirectHosts);
  const isProxied = hostMatcher([...named.map(hostAndPort), ...realmHosts, ...redirectHosts]);
  const writtenDown = [...exact.map(hostAndPort), ...realmHosts, ...redirectHosts];
  const isWrittenDown = hostMatcher(writtenDown);
  const isInFull = hostMatcher(writtenDown.filter((entry) => !entry.includes('*')));
  return {
    dispatcherFor(url) {
      const proxy = proxyOf?.(url);
      const [hasIdentity, isKnown] = [isOwn(url), isOwn(url) || isListed(url)];
      if (proxy !== undefined && !isProxied(url)) throw refusal(url, throughProxy);
      const isChecked = !isWrittenDown(url);
      if (isChecked && isPrivateLiteral(url, isPrivate)) throw refusal(url, privateAddress);
      return agents.get({ hasIdentity, isKnown, isChecked, isExact: isInFull(url), proxy });
    },
    enter: (url) => limit.enter(url),
    running: () => limit.running,
    use: () => agents.use(),
    retire: () => agents.retire(),
    close: () => agents.close(),
  };
}

/** @returns undefined where everything is reached directly. */
function proxyChoiceOf({ proxy }: UpstreamSettings): ProxyOf | undefined {
  return proxy.http === undefined && proxy.https === undefined ? undefined : createProxyChoice(proxy);
}

const throughProxy = 'is not in realmHosts or redirectHosts, the only hosts reached through a proxy';
const privateAddress = 'is a private address, and not in realmHosts or redirectHosts';

function isPrivateLiteral(url: URL, isPrivate: IsPrivateAddress): boolean {
  const literal = withoutBrackets(url.hostname);
  return isIP(literal) !== 0 && isPrivate(literal);
}

function refusal(url: URL, why: string): ForbiddenAddress {
  return new ForbiddenAddress(`the upstream redirects to ${url.host}, which ${why}`);
}

/** How to connect to a host. */
interface Route {
  /** Whether the client certificate is sent to it. */
  readonly hasIdentity: boolean;
  /** Whether it is in the configuration, so that `insecureSkipVerify` applies to it. */
  readonly isKnown: boolean;
  /** Whether its addresses are checked when connecting. */
  readonly isChecked: boolean;
  /** Whether it is in the configuration without a pattern, so that the number of names is bounded. */
  readonly isExact: boolean;
  readonly proxy: string | undefined;
}

/** How names are resolved. */
interface Lookups {
  readonly any: LookupFunction;
  /** For hosts that match a pattern, of which there may be any number. */
  readonly limited: LookupFunction;
  /** The same, and refuses names with private addresses. */
  readonly checked: LookupFunction;
}

function useIn({ connected, running, pending }: Pool['stats']): ConnectionUse {
  return { busy: running, idle: Math.max(0, connected - running), waiting: pending };
}

export function sumOfUses(uses: readonly ConnectionUse[]): ConnectionUse {
  const sum = (count: (use: ConnectionUse) => number) => uses.reduce((total, use) => total + count(use), 0);
  return { busy: sum(({ busy }) => busy), idle: sum(({ idle }) => idle), waiting: sum(({ waiting }) => waiting) };
}

/** Response headers beyond this are refused (UND_ERR_HEADERS_OVERFLOW). */
const maxHeaderBytes = 32 * 1024;

/** One undici agent per route of one upstream, created when it is first needed. */
class Agents {
  readonly #settings: UpstreamSettings;
  readonly #lookups: Lookups;
  readonly #made = new Map<string, Dispatcher>();
  /** Of all agents, one for each host and port. */
  readonly #pools = new Set<Pool>();

  constructor(settings: UpstreamSettings, lookups: Lookups) {
    this.#settings = settings;
    this.#lookups = lookups;
  }

  get(route: Route): Dispatcher {
    const key = JSON.stringify([route.hasIdentity, route.isKnown, route.isChecked, route.isExact, route.proxy]);
    const known = this.#made.get(key);
    if (known) return known;
    const made = this.#make(route);
    this.#made.set(key, made);
    return made;
  }

  use(): ConnectionUse {
    return sumOfUses([...this.#pools].map(({ stats }) => useIn(stats)));
  }

  async retire(): Promise<void> {
    const retired = [...this.#made.values()];
    this.#made.clear();
    await Promise.all(retired.map((agent) => agent.close()));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#made.values()].map((agent) => agent.destroy()));
  }

  #make(route: Route): Dispatcher {
    const connect = connectOptionsOf(route, this.#settings, this.#lookups);
    const options = this.#agentOptions();
    if (route.proxy === undefined) return new Agent({ ...options, connect });
    return new ProxyAgent({
      ...options,
      uri: route.proxy,
      requestTls: connect,
      proxyTls: { lookup: this.#lookups.any, ...(connect.ca === undefined ? {} : { ca: connect.ca }) },
    });
  }

  /** Pools close by themselves when they are not used. */
  #makePool(origin: string | URL, options: object): Pool {
    for (const pool of this.#pools) if (pool.destroyed) this.#pools.delete(pool);
    const pool = new Pool(origin, options);
    this.#pools.add(pool);
    return pool;
  }

  #agentOptions() {
    const { timeouts, maxConnections } = this.#settings;
    return {
      factory: (origin: string | URL, options: object) => this.#makePool(origin, options),
      allowH2: false,
      pipelining: 1,
      connections: maxConnections,
      connectTimeout: timeouts.connectMs,
      headersTimeout: timeouts.headersMs,
      // undici's timeout does not fire under back-pressure (undici #5393): AnswerBody has its own.
      bodyTimeout: 0,
      keepAliveTimeout: 30_000,
      keepAliveMaxTimeout: 300_000,
      maxHeaderSize: maxHeaderBytes,
    };
  }
}

/** The options of a socket. Pure. */
export function connectOptionsOf(
  { hasIdentity, isKnown, isChecked, isExact }: Route,
  { tls, timeouts }: UpstreamSettings,
  lookups: Lookups,
) {
  const { ca, certificate, key, insecureSkipVerify } = tls;
  return {
    timeout: timeouts.connectMs,
    rejectUnauthorized: !(isKnown && insecureSkipVerify),
    ...(ca === undefined ? {} : { ca: [...getCACertificates('default'), ca] }),
    ...(hasIdentity && certificate !== undefined && key !== undefined ? { cert: certificate, key } : {}),
    lookup: isChecked ? lookups.checked : isExact ? lookups.any : lookups.limited,
  };
}

/** One that runs and one that waits. */
const requestsPerConnection = 2;

/**
 * Bounds the requests to one host and port that run or wait for a connection. As many may wait as there are connections; a further request
 * would wait until its deadline, so it is refused at once.
 */
export class RequestLimit {
  readonly #max: number;
  readonly #countByOrigin = new Map<string, number>();

  /** @param maxConnections to one host and port at a time. */
  constructor(maxConnections: number) {
    this.#max = maxConnections * requestsPerConnection;
  }

  get running(): number {
    return this.#countByOrigin.values().reduce((sum, count) => sum + count, 0);
  }

  /**
   * Counts one request to `url`.
   * @returns a function that ends the request; a second call does nothing.
   * @throws UpstreamError busy when as many wait as there are connections.
   */
  enter({ origin, host }: URL): () => void {
    const count = this.#countByOrigin.get(origin) ?? 0;
    if (count >= this.#max) throw new UpstreamError('busy', `too many requests wait for a connection to ${host}`);
    this.#countByOrigin.set(origin, count + 1);
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      this.#leave(origin);
    };
  }

  #leave(origin: string): void {
    const count = (this.#countByOrigin.get(origin) ?? 0) - 1;
    if (count > 0) this.#countByOrigin.set(origin, count);
    else this.#countByOrigin.delete(origin);
  }
}
