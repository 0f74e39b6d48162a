import { isDeepStrictEqual } from 'node:util';
import type { Config, UpstreamConfig } from '../config/schema.ts';
import type { AccessRules } from '../mirror/access/access.ts';
import type { MirrorLimits, MirrorRules } from '../mirror/mirror-parts.ts';
import type { UpstreamDirectory } from '../mirror/ports/upstream.ts';

/** The rules of a configuration that a reload may change. */
export function mirrorRules(config: Config, upstreams: UpstreamDirectory): MirrorRules {
  return {
    upstreams,
    defaultUpstream: config.defaultUpstream,
    freshness: config.freshness,
    freshnessOf: new Map(config.upstreams.map(({ name, freshness }) => [name, freshness])),
    accessOf: new Map(config.upstreams.map((upstream) => [upstream.name, accessRules(upstream)])),
  };
}

/** The limits of a configuration; they are fixed when the process starts. */
export function mirrorLimits({ storage, download, upstreams, clients, events }: Config): MirrorLimits {
  const ofEvents = events.webhooks.length > 0 ? events.queueBytes : 0;
  return {
    limits: { ...storage, maxBytes: storage.maxBytes - ofEvents },
    keep: [...storage.keep, ...upstreams.filter(isOffline).map(({ name }) => `${name}/**`)],
    unusedForMs: storage.unusedForMs,
    verifyReads: storage.verifyReads,
    maxConcurrent: download.maxConcurrent,
    maxAbandoned: download.maxAbandoned,
    minBytesPerSecond: download.minBytesPerSecond,
    attemptsWithoutProgress: download.attemptsWithoutProgress,
    maxRequests: clients.maxRequests,
  };
}

/** The sections that are read only when the process starts. The chart restarts its pods when one of them changes. */
export const fixedSections = [
  'listen',
  'management',
  'storage',
  'index',
  'cluster',
  'download',
  'clients',
  'events',
] as const;

/** The sections of a changed configuration that hold only after a restart. Pure. */
export function sectionsThatNeedRestart(old: Config, changed: Config): readonly string[] {
  return fixedSections.filter((section) => !isDeepStrictEqual(old[section], changed[section]));
}

/** Content that was fetched anonymously was public then. */
function accessRules({ allow, deny, visibility, publicRepositories, hasIdentity }: UpstreamConfig): AccessRules {
  return { allow, deny, visibility: hasIdentity ? { kind: visibility, publicRepositories } : { kind: 'open' } };
}

/** Content of an offline upstream is never evicted, since it cannot be fetched again. */
function isOffline({ freshness }: UpstreamConfig): boolean {
  return freshness.offline;
}
