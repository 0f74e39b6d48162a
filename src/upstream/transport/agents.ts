import type { LookupFunction } from 'node:net';
import { getCACertificates } from 'node:tls';
import { Agent, type Dispatcher, ProxyAgent } from 'undici';
import type { UpstreamSettings } from '../settings.ts';

/** How to connect to a host. */
export interface Route {
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
export interface Lookups {
  readonly any: LookupFunction;
  /** For hosts that match a pattern, of which there may be any number. */
  readonly limited: LookupFunction;
  /** The same, and refuses names with private addresses. */
  readonly checked: LookupFunction;
}

/** Response headers beyond this are refused (UND_ERR_HEADERS_OVERFLOW). */
const maxHeaderBytes = 32 * 1024;

/** One undici agent per route of one upstream, created when it is first needed. */
export class Agents {
  readonly #settings: UpstreamSettings;
  readonly #lookups: Lookups;
  readonly #made = new Map<string, Dispatcher>();

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

  #agentOptions() {
    const { timeouts, maxConnections } = this.#settings;
    return {
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
