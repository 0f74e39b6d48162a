import { LRUCache } from 'lru-cache';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Memory } from '../mirror/ports/memory.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import type { Tracing } from '../mirror/ports/tracing.ts';
import type { Upstream, UpstreamDirectory, UpstreamMonitor } from '../mirror/ports/upstream.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import type { HostName } from '../oci/reference.ts';
import { createRegistryClient, type RegistryClient } from './registry-client.ts';
import type { Pauses } from './failover/retry.ts';
import type { UpstreamSettings } from './settings.ts';
import { type ConnectionUse, sumOfUses } from './transport/connections.ts';
import { createLimitedLookup, createSharedLookup, type Lookup } from './lookup/shared-lookup.ts';

export interface UpstreamDirectoryDeps {
  /** By the name that clients use, or a pattern. */
  readonly entries: ReadonlyMap<string, UpstreamSettings>;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Learns what the upstreams answer. */
  readonly monitor?: UpstreamMonitor | undefined;
  /** The memory that buffered response bytes of an upstream count against, by its label. */
  readonly memoryFor?: ((label: string) => Memory) | undefined;
  readonly tracing?: Pick<Tracing, 'ask'> | undefined;
  /** The pauses before retries. */
  readonly pauses?: Pauses;
  /** How many names of one pattern keep their connections. */
  readonly maxMatchedNames?: number;
  /** Resolves names for all of them. */
  readonly lookup?: Lookup;
}

/** The directory with its sockets. */
export interface OpenUpstreamDirectory extends UpstreamDirectory {
  /** Pings the upstream of this name; a pattern is not pinged. */
  ping(name: string, options: Waiting): Promise<void>;
  /** The client certificates (PEM) that upstreams are sent, by label. */
  readonly clientCertificates: ReadonlyMap<string, string>;
  /** How many requests to the upstreams of a label run or wait for a connection. */
  running(label: string): number;
  /** The connections to the upstreams of a label. */
  connectionUse(label: string): ConnectionUse;
  /** Closes each connection after its running requests. */
  retire(): Promise<void>;
  /** Closes all connections and aborts their requests. */
  close(): Promise<void>;
}

/**
 * The upstreams of the configuration. An exact name or alias beats a pattern, a longer pattern a shorter one. Names that match a
 * pattern get a client of their own; the least recently used of each pattern lose their connections when their requests have ended.
 */
export function createUpstreamDirectory(deps: UpstreamDirectoryDeps): OpenUpstreamDirectory {
  const { lookup = createSharedLookup({ clock: deps.clock }) } = deps;
  const exact = exactClients({ ...deps, lookup });
  const patterns = patternEntries(deps, lookup);

  const findMatching = (name: HostName): Upstream | undefined => {
    const entry = patterns.find(({ matches }) => matches(name));
    if (!entry) return undefined;
    const { label, settings, lookupElsewhere, matched } = entry;
    const known = matched.get(name);
    if (known) return known;
    const memory = deps.memoryFor?.(label);
    const client = createRegistryClient({ ...deps, lookup, lookupElsewhere, name, label, settings, memory });
    matched.set(name, client);
    return client;
  };

  const all = () => [...new Set(exact.values()), ...patterns.flatMap(({ matched }) => [...matched.values()])];
  const of = (label: string) => all().filter((client) => client.label === label);
  return {
    find: (name) => exact.get(name) ?? findMatching(name),
    ping: async (name, options) => exact.get(name.toLowerCase())?.ping(options),
    clientCertificates: certificatesIn(deps.entries),
    running: (label) => of(label).reduce((sum, client) => sum + client.running(), 0),
    connectionUse: (label) => sumOfUses(of(label).map((client) => client.connectionUse())),
    retire: async () => {
      await Promise.all(all().map((client) => client.retire()));
    },
    close: async () => {
      await Promise.all(all().map((client) => client.close()));
    },
  };
}

function certificatesIn(entries: UpstreamDirectoryDeps['entries']): ReadonlyMap<string, string> {
  return new Map(
    [...entries].flatMap(([label, { tls }]) =>
      tls.certificate === undefined ? [] : [[label, tls.certificate] as const],
    ),
  );
}

function exactClients(deps: UpstreamDirectoryDeps): ReadonlyMap<string, RegistryClient> {
  const entries = [...deps.entries].filter(([, { hosts }]) => hosts === 'one');
  const named = entries.map(([name, settings]) => ({
    client: createRegistryClient({ ...deps, name, label: name, settings, memory: deps.memoryFor?.(name) }),
    names: settings.aliases,
  }));
  const aliases = named.flatMap(({ client, names }) => names.map((alias) => [alias.toLowerCase(), client] as const));
  return new Map([...aliases, ...named.map(({ client }) => [client.name.toLowerCase(), client] as const)]);
}

/** Clients choose the names that match a pattern: all names of one pattern share its lookups, and cannot displace those of another. */
function patternEntries({ entries, maxMatchedNames = 256, observer }: UpstreamDirectoryDeps, lookup: Lookup) {
  return [...entries]
    .filter(([, { hosts }]) => hosts !== 'one')
    .toSorted(([one], [other]) => bySpecificity(one, other))
    .map(([label, settings]) => ({
      label,
      settings,
      matches: namePatternMatcher(label.toLowerCase()),
      lookupElsewhere: createLimitedLookup(lookup),
      matched: new LRUCache<string, RegistryClient>({
        max: maxMatchedNames,
        dispose: (client) =>
          void client
            .retire()
            .catch((cause: unknown) => observer.internalError({ part: 'upstream connections', cause })),
      }),
    }));
}

/**
 * A predicate for names of registries. `*` is one label and never a port; `**` is any host.
 * `*.gcr.io` admits `eu.gcr.io`, but neither `gcr.io` nor `a.b.gcr.io`.
 */
export function namePatternMatcher(pattern: string): (name: HostName) => boolean {
  const any = (part: string) =>
    part
      .split('*')
      .map((literal) => RegExp.escape(literal))
      .join('[^.:]+');
  const grammar = new RegExp(`^${pattern.split('**').map(any).join('.+')}$`);
  return (name) => grammar.test(name) && isAsWritten(name);
}

/** Whether a URL keeps the host unchanged: `0x7f.1` would become another host, `[::1]` matches no pattern, and `a.test:99999` is invalid. */
function isAsWritten(name: HostName): boolean {
  return !name.startsWith('[') && URL.parse(`https://${name}`)?.hostname === name.replace(/:\d+$/, '');
}

/** Longer patterns come first, because they are more specific; equally long ones in alphabetical order. */
export function bySpecificity(one: string, other: string): number {
  return other.length - one.length || (one < other ? -1 : 1);
}
