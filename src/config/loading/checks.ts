import { z } from 'zod';
import type { Config } from '../schema.ts';
import { hasIdentity } from '../sections/credentials.ts';
import { parseSize } from '../sections/units.ts';
import { admitsAnyHost, aliasesOf, isPattern } from '../sections/names.ts';
import { inWords, type Problem } from './problems.ts';

/**
 * The parts of the file that rules between keys need. Malformed values are reported by the schema and ignored here, so that an operator
 * sees all problems at once.
 */
const entryOutline = z.object({
  url: z.string().optional().catch(undefined),
  aliases: z.array(z.string()).catch([]),
  credentials: z.array(z.object({ kind: z.unknown() }).catch({ kind: undefined })).catch([]),
  mirrors: z.array(z.object({ credentials: z.array(z.unknown()).catch([]) })).catch([]),
  tls: z.object({ certFile: z.string().optional() }).catch({}),
  visibility: z.string().optional().catch(undefined),
  allowAnonymous: z.boolean().catch(false),
});
const outline = z.object({
  clients: z.object({ mode: z.string() }).catch({ mode: 'anonymous' }),
  storage: z.object({ maxSize: z.string() }).catch({ maxSize: '' }),
  events: z
    .object({ queueSize: z.string().catch('16MiB'), webhooks: z.array(z.unknown()) })
    .catch({ queueSize: '', webhooks: [] }),
  defaultUpstream: z.string().optional().catch(undefined),
  index: z.object({ driver: z.unknown() }).catch({ driver: undefined }),
  cluster: z.object({ redis: z.unknown().optional() }).optional().catch(undefined),
  upstreams: z.record(z.string(), entryOutline.catch(entryOutline.parse({}))).catch({}),
});

type Outline = z.output<typeof outline>;
type EntryOutline = z.output<typeof entryOutline>;

/** Problems between keys. */
export function crossProblems(document: unknown): readonly Problem[] {
  const said = outline.safeParse(document).data;
  return said === undefined
    ? []
    : [
        ...defaultUpstreamProblems(said),
        ...nameProblems(said),
        ...entryProblems(said),
        ...clusterProblems(said),
        ...queueProblems(said),
      ];
}

function defaultUpstreamProblems({ defaultUpstream, upstreams }: Outline): readonly Problem[] {
  const names = Object.keys(upstreams).filter((name) => !isPattern(name));
  const isKnown = names.some(
    (name) => name === defaultUpstream || aliasesOf(name, upstreams).includes(defaultUpstream ?? ''),
  );
  const path = ['defaultUpstream'];
  if (defaultUpstream !== undefined)
    return isKnown ? [] : [{ path, message: 'expected the key or an alias of one of upstreams, not a pattern' }];
  const onlyPatterns = names.length === 0 && Object.keys(upstreams).length > 0;
  return onlyPatterns
    ? [{ path, message: 'missing: all upstreams are patterns, none of which can be the default' }]
    : [];
}

/** Every name and alias belongs to one upstream. */
function nameProblems({ upstreams }: Outline): readonly Problem[] {
  const owners = new Map(Object.keys(upstreams).map((name) => [name, name]));
  const problems: Problem[] = [];
  for (const [name, { aliases }] of Object.entries(upstreams)) {
    for (const [i, alias] of aliases.entries()) {
      const owner = owners.get(alias);
      if (owner === undefined) owners.set(alias, name);
      else
        problems.push({
          path: ['upstreams', name, 'aliases', i],
          message: `"${alias}" already stands for upstreams["${owner}"]`,
        });
    }
  }
  return problems;
}

function clusterProblems({ index, cluster }: Outline): readonly Problem[] {
  const hasRedis = cluster === undefined || cluster.redis !== undefined || index.driver === 'redis';
  return hasRedis ? [] : [{ path: ['cluster', 'redis'], message: 'missing: index has no Redis either' }];
}

/** What is kept for webhooks is a part of the store. */
function queueProblems({ storage: { maxSize }, events: { queueSize, webhooks } }: Outline): readonly Problem[] {
  const [queueBytes, maxBytes] = [parseSize(queueSize), parseSize(maxSize)];
  const fits = queueBytes === undefined || maxBytes === undefined || queueBytes <= maxBytes / 2;
  const path = ['events', 'queueSize'];
  return fits || webhooks.length === 0 ? [] : [{ path, message: 'expected at most half of storage.maxSize' }];
}

function entryProblems({ clients, upstreams }: Outline): readonly Problem[] {
  return Object.entries(upstreams).flatMap(([name, entry]) =>
    [...patternProblems(name, entry), ...visibilityProblems(entry, clients.mode)].map(({ path, message }) => ({
      path: ['upstreams', name, ...path],
      message,
    })),
  );
}

function patternProblems(name: string, { url, aliases, credentials, tls }: EntryOutline): readonly Problem[] {
  if (!isPattern(name)) return [];
  const message = 'not allowed for a pattern, which matches many registries';
  const anyHost = 'not allowed for a pattern that matches every host: clients would choose which host gets it';
  const shown = credentials.flatMap(({ kind }, i) =>
    admitsAnyHost(name) && kind !== 'docker-config' ? [{ path: ['credentials', i], message: anyHost }] : [],
  );
  return [
    ...shown,
    ...(admitsAnyHost(name) && tls.certFile !== undefined ? [{ path: ['tls', 'certFile'], message: anyHost }] : []),
    ...(url === undefined ? [] : [{ path: ['url'], message }]),
    ...(aliases.length === 0 ? [] : [{ path: ['aliases'], message }]),
  ];
}

/** With credentials, the operator must decide who may read what they can read. */
function visibilityProblems(entry: EntryOutline, clientMode: string): readonly Problem[] {
  if (entry.visibility === undefined) {
    const message =
      'missing: with credentials it must say "public" (they only raise the rate limit) or "service" (what they can read is for every client)';
    return hasIdentity(entry) ? [{ path: ['visibility'], message }] : [];
  }
  const isOpen = entry.visibility === 'service' && clientMode === 'anonymous' && !entry.allowAnonymous;
  const message =
    'expected true: with visibility "service", everyone who reaches the mirror reads what its credentials can read';
  return isOpen ? [{ path: ['allowAnonymous'], message }] : [];
}

/** Warnings about a valid configuration, each with its key. */
export function warningsOf({ upstreams, clients }: Pick<Config, 'upstreams' | 'clients'>): readonly string[] {
  const message = 'matches every host: everyone who reaches the mirror can pull from any public registry through it';
  const open = upstreams
    .filter(({ name }) => admitsAnyHost(name))
    .map(({ name }) => inWords({ path: ['upstreams', name], message }));
  return [...open, ...proxyWarnings(clients)];
}

function proxyWarnings({ trustedProxies }: Config['clients']): readonly string[] {
  const message = 'has every address: every client chooses the address that the log says';
  const all = [...trustedProxies.entries()].filter(([, entry]) => entry.endsWith('/0'));
  return all.map(([place]) => inWords({ path: ['clients', 'trustedProxies', place], message }));
}
