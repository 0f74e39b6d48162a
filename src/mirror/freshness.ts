import { globMatcher } from '../oci/glob.ts';
import { OciError, UpstreamError } from '../oci/errors.ts';

/** How long remembered answers may be trusted. Durations in milliseconds, Infinity for ever. */
export interface FreshnessRules {
  /** A tag confirmed less than this long ago is served without asking. */
  readonly tagMs: number;
  /** Exceptions to it, first match wins, on `<upstream>/<repository>:<tag>`. */
  readonly tags: readonly { readonly match: string; readonly tagMs: number }[];
  /** How long a 404 is remembered. */
  readonly missingMs: number;
  /** While the upstream gives no answer, what it confirmed up to this long ago is still served. */
  readonly staleForMs: number;
  /** Whether a tag the upstream says is gone is still served from the cache. */
  readonly deletedUpstream: 'serve' | 'deny';
  /** Never ask the upstream; nothing expires. */
  readonly offline: boolean;
}

export type Freshness = 'fresh' | 'revalidate';

/** Whether a remembered answer may be served without asking. One from the future (a clock was set back) is asked again. */
export function freshnessOf(confirmedAtMs: number, freshForMs: number, nowMs: number): Freshness {
  const ageMs = nowMs - confirmedAtMs;
  return ageMs >= 0 && ageMs < freshForMs ? 'fresh' : 'revalidate';
}

/** A function from `<upstream>/<repository>:<tag>` to the lifetime of that tag, in milliseconds. */
export function tagLifetimes(rules: FreshnessRules): (name: string) => number {
  if (rules.offline) return () => Infinity;
  const exceptions = rules.tags.map(({ match, tagMs }) => ({ matches: globMatcher(match), tagMs }));
  return (name) => exceptions.find(({ matches }) => matches(name))?.tagMs ?? rules.tagMs;
}

/** The rules of every upstream, by its label. */
export interface FreshnessPolicies {
  rulesOf(label: string): FreshnessRules;
  /** The lifetime in milliseconds of a tag, named `<upstream>/<repository>:<tag>`. */
  tagLifetimeMs(label: string, name: string): number;
}

export function createFreshnessPolicies(
  byLabel: ReadonlyMap<string, FreshnessRules>,
  common: FreshnessRules,
): FreshnessPolicies {
  const lifetimes = new Map([...byLabel].map(([label, rules]) => [label, tagLifetimes(rules)]));
  const commonLifetime = tagLifetimes(common);
  return {
    rulesOf: (label) => byLabel.get(label) ?? common,
    tagLifetimeMs: (label, name) => (lifetimes.get(label) ?? commonLifetime)(name),
  };
}

/** What a failed look upstream means for a tag that is cached. */
export type StaleDecision = { readonly word: 'serve-stale'; readonly reason: string } | { readonly word: 'fail' };

/**
 * No answer, or a refusal: the cached tag is served while it is not older than `staleForMs`.
 * "It is gone" is an answer, and decided by `deletedUpstream`. Anything else is a bug and fails.
 */
export function staleDecision(cause: unknown, ageMs: number, rules: FreshnessRules): StaleDecision {
  const reason = reasonOf(cause);
  if (reason === undefined) return { word: 'fail' };
  if (reason === 'gone') return rules.deletedUpstream === 'serve' ? { word: 'serve-stale', reason } : { word: 'fail' };
  return ageMs < rules.staleForMs ? { word: 'serve-stale', reason } : { word: 'fail' };
}

function reasonOf(cause: unknown): string | undefined {
  if (cause instanceof UpstreamError) return cause.trouble;
  if (!(cause instanceof OciError)) return undefined;
  if (cause.status === 404) return 'gone';
  return cause.code === 'DENIED' ? 'refused' : undefined;
}
