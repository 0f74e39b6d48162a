import { isIP } from 'node:net';
import type { Dispatcher } from 'undici';
import { Agents } from './agents.ts';
import { hostAndPort, hostMatcher } from './hosts.ts';
import { createPrivateAddressCheck, type IsPrivateAddress, publicLookup } from '../lookup/private-addresses.ts';
import { createProxyChoice } from './proxy.ts';
import { RequestLimit } from './request-limit.ts';
import { ForbiddenAddress } from './network-errors.ts';
import type { UpstreamSettings } from '../settings.ts';
import { forSockets, type Lookup } from '../lookup/shared-lookup.ts';

/** The sockets to one upstream and to the places it sends us. */
export interface Connections {
  /**
   * What a request to `url` goes through.
   * @throws UpstreamError misbehaving for a place that may not be dialled.
   */
  dispatcherFor(url: URL): Dispatcher;
  /**
   * Counts a request to `url` until what is returned is called.
   * @throws UpstreamError busy when as many requests wait for a connection to that host and port as there are connections.
   */
  enter(url: URL): () => void;
  /** Closes every connection once what is under way on it has ended. What is asked later gets new ones. */
  retire(): Promise<void>;
  /** Drops every connection and whatever is under way on it. */
  close(): Promise<void>;
}

export interface Origins {
  /** The registry and its mirrors. */
  readonly own: readonly URL[];
  /** Those of them that stand in the configuration in full: they may be private addresses. What a pattern admits was chosen by a client. */
  readonly exact: readonly URL[];
  /** Those whose hosts the configuration names, be it by a pattern such as `*.pkg.dev`: behind a proxy they are reached, unlike any host. */
  readonly named: readonly URL[];
}

/** How names are looked up. */
export interface HostLookups {
  /** Of hosts that the operator wrote down in full. */
  readonly lookup: Lookup;
  /** For hosts that the upstream or a client named, also those that a pattern admits. */
  readonly lookupElsewhere: Lookup;
}

/**
 * Decides for every host and port how it is reached. No agent is shared between upstreams, so that TLS sessions, client certificates
 * and trust never cross over (CVE-2026-58040, CVE-2026-56850).
 *
 *     own      the registry, its mirrors and `realmHosts`: the only ones that see the client certificate
 *     listed   `redirectHosts`; like the ones before, the operator wrote them down, so they may be private addresses
 *     public   everywhere else the upstream sends us: always verified, and every address is checked when it is dialled, so that
 *              a name which resolves to something else the second time gains nothing
 *
 * Node asks `lookup` for names only: address literals are checked before connecting. Behind a proxy no address is seen, so only
 * what is listed is reached.
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
  const proxyOf = createProxyChoice(settings.proxy);
  const isOwn = hostMatcher([...own.map(hostAndPort), ...realmHosts]);
  const isListed = hostMatcher(redirectHosts);
  const isProxied = hostMatcher([...named.map(hostAndPort), ...realmHosts, ...redirectHosts]);
  const writtenDown = [...exact.map(hostAndPort), ...realmHosts, ...redirectHosts];
  const isWrittenDown = hostMatcher(writtenDown);
  const isInFull = hostMatcher(writtenDown.filter((entry) => !entry.includes('*')));
  return {
    dispatcherFor(url) {
      const proxy = proxyOf(url);
      const [hasIdentity, isKnown] = [isOwn(url), isOwn(url) || isListed(url)];
      if (proxy !== undefined && !isProxied(url)) throw refusal(url, throughProxy);
      const isChecked = !isWrittenDown(url);
      if (isChecked && isPrivateLiteral(url, isPrivate)) throw refusal(url, privateAddress);
      return agents.get({ hasIdentity, isKnown, isChecked, isExact: isInFull(url), proxy });
    },
    enter: (url) => limit.enter(url),
    retire: () => agents.retire(),
    close: () => agents.close(),
  };
}

const throughProxy = 'is not in realmHosts or redirectHosts, the only hosts reached through a proxy';
const privateAddress = 'is a private address, and not in realmHosts or redirectHosts';

function isPrivateLiteral(url: URL, isPrivate: IsPrivateAddress): boolean {
  const literal = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(literal) !== 0 && isPrivate(literal);
}

function refusal(url: URL, why: string): ForbiddenAddress {
  return new ForbiddenAddress(`the upstream redirects to ${url.host}, which ${why}`);
}
