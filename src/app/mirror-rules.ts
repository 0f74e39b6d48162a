import { isDeepStrictEqual } from 'node:util';
import type { Config, UpstreamConfig } from '../config/schema.ts';
import type { AccessRules } from '../mirror/access/access.ts';
import type { MirrorLimits, MirrorRules } from '../mirror/assemble.ts';
import type { UpstreamDirectory } from '../mirror/ports/upstream.ts';

/** What the mirror follows, out of what the operator said: all of it may change while it runs. */
export function mirrorRules(config: Config, upstreams: UpstreamDirectory): MirrorRules {
  return {
    upstreams,
    defaultUpstream: config.defaultUpstream,
    freshness: config.freshness,
    freshnessOf: new Map(config.upstreams.map(({ name, freshness }) => [name, freshness])),
    accessOf: new Map(config.upstreams.map((upstream) => [upstream.name, accessRules(upstream)])),
  };
}

/** What is fixed when the process starts. */
export function mirrorLimits({ storage, download, upstreams, clients }: Config): MirrorLimits {
  return {
    limits: storage,
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

const fixedSections = ['listen', 'management', 'storage', 'index', 'download', 'clients'] as const;

/** The sections of a changed configuration that hold only after a restart. Pure. */
export function sectionsThatNeedRestart(old: Config, changed: Config): readonly string[] {
  return fixedSections.filter((section) => !isDeepStrictEqual(old[section], changed[section]));
}

function accessRules({ allow, deny, visibility, publicRepositories, hasIdentity }: UpstreamConfig): AccessRules {
  // What was fetched as nobody in particular was public when it was fetched.
  const isOpen = visibility === 'service' || !hasIdentity;
  return { allow, deny, visibility: isOpen ? { kind: 'open' } : { kind: 'public', publicRepositories } };
}

/** What cannot be fetched again is kept. */
function isOffline({ freshness }: UpstreamConfig): boolean {
  return freshness.offline;
}
