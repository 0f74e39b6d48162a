import { join, resolve } from 'node:path';
import { z } from 'zod';
import { clients } from './sections/clients.ts';
import { cluster } from './sections/cluster.ts';
import { type credentials, hasIdentity } from './sections/credentials.ts';
import { events } from './sections/events.ts';
import { download } from './sections/download.ts';
import { chosenProxies, type Proxies } from './loading/environment-proxy.ts';
import type { SchemaNode } from './loading/json-schema.ts';
import { freshness, overridden } from './sections/freshness.ts';
import { listen, log, management, shutdown } from './sections/listen.ts';
import { aliasesOf, host, hubName, isPattern, realmHostsOf, scopeOf } from './sections/names.ts';
import { index, storage } from './sections/storage.ts';
import { type UpstreamEntry, upstreams } from './sections/upstreams.ts';

/** The file as an operator writes it. Every key has its default and its one line of documentation where it is defined. */
export const configFile = z.strictObject({
  $schema: z.string().describe('The JSON Schema of this file, for editors.').optional(),
  listen: listen.prefault({}),
  management: management.prefault({}),
  storage: storage.prefault({}),
  index: index.prefault({}),
  cluster: cluster.optional(),
  freshness: freshness.prefault({}),
  download: download.prefault({}),
  clients: clients.prefault({}),
  events: events.prefault({}),
  defaultUpstream: host()
    .describe(
      'The upstream for image names without a registry. Default: docker.io if it is configured, else the first upstream.',
    )
    .optional(),
  upstreams,
  shutdown: shutdown.prefault({}),
  log: log.prefault({}),
});

/** The JSON Schema of the file as an operator writes it, with every default and description. */
export function configJsonSchema(): SchemaNode {
  return z.toJSONSchema(configFile, { io: 'input' });
}

/** The validated file. Rules between keys are in checks.ts. */
export type ConfigFile = z.output<typeof configFile>;

/** Everything an operator can set. Sizes are bytes and times milliseconds; `forever` is Infinity; paths are absolute. */
export type Config = DeepReadonly<ReturnType<typeof settled>>;
export type UpstreamConfig = Config['upstreams'][number];
export type CredentialsConfig = DeepReadonly<z.output<typeof credentials>>;

type DeepReadonly<T> = T extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T;

/** The surroundings of the file that defaults depend on. */
export interface Surroundings {
  /** Relative paths start here. */
  readonly folder: string;
  /** The proxies of the environment. */
  readonly proxies: Proxies;
}

/** Fills in the defaults that depend on other keys or on the surroundings. */
export function settled(said: ConfigFile, { folder, proxies }: Surroundings) {
  const { $schema: _, upstreams: entries, ...rest } = said;
  const storagePath = resolve(folder, said.storage.path);
  return {
    ...rest,
    storage: { ...said.storage, path: storagePath },
    index: settledIndex(said.index, storagePath),
    cluster: settledCluster(said),
    events: { ...said.events, proxy: chosenProxies({ except: [] }, proxies) },
    /** The key of an upstream. */
    defaultUpstream: defaultUpstreamOf(said.defaultUpstream, entries),
    upstreams: Object.entries(entries).map(([name, entry]) => settledUpstream(name, entry, said, proxies)),
  };
}

function settledIndex(said: ConfigFile['index'], storagePath: string) {
  return said.driver === 'redis' ? said : { ...said, path: said.path ?? join(storagePath, 'index.sqlite') };
}

/** Without a Redis of its own the cluster uses that of the index; checks.ts guarantees that there is one. */
function settledCluster({ cluster: said, index: { redis: ofIndex } }: ConfigFile) {
  const redis = said?.redis ?? ofIndex;
  return said === undefined || redis === undefined
    ? undefined
    : { ...said, redis, usesRedisOfIndex: said.redis === undefined };
}

function settledUpstream(name: string, entry: UpstreamEntry, said: ConfigFile, proxies: Proxies) {
  return {
    ...entry,
    /** The key of its entry. */
    name,
    /** Whether the key stands for many registries, such as `*.pkg.dev`. */
    isPattern: isPattern(name),
    hosts: scopeOf(name),
    /** Undefined for a pattern: `https://` and the name that matched. */
    url: isPattern(name) ? undefined : (entry.url ?? defaultUrl(name)),
    /** Whether the mirror has an identity there: credentials or a client certificate. */
    hasIdentity: hasIdentity(entry),
    freshness: overridden(said.freshness, entry.freshness),
    aliases: aliasesOf(name, said.upstreams),
    realmHosts: realmHostsOf(name, entry),
    proxy: chosenProxies(entry.proxy, proxies),
    timeouts: { ...entry.timeouts, idleMs: entry.timeouts.idleMs ?? said.download.idleTimeoutMs },
  };
}

/** https://docker.io serves a web site, not `/v2/`. */
function defaultUrl(name: string): string {
  return name === hubName ? 'https://registry-1.docker.io' : `https://${name}`;
}

/** checks.ts guarantees that there is one. */
function defaultUpstreamOf(said: string | undefined, entries: Readonly<Record<string, UpstreamEntry>>): string {
  const names = Object.keys(entries).filter((name) => !isPattern(name));
  const wanted = said ?? hubName;
  const found = names.find((name) => name === wanted || aliasesOf(name, entries).includes(wanted));
  return found ?? names[0] ?? wanted;
}
