import { globMatcher } from '../../oci/reference.ts';
import { type FailureReason, OciError, UpstreamError } from '../../oci/errors.ts';
import { isNotFound } from '../ports/upstream.ts';

/** Why an upstream gave no answer, as in `freshness.staleOn`: `error` is a 5xx or an invalid answer, `rateLimit` a 429, `refused` a 401 or 403. */
export type StaleCause = 'connect' | 'dns' | 'tls' | 'timeout' | 'error' | 'rateLimit' | 'refused';

/** How long cached answers are served. Durations in milliseconds; Infinity: for ever. */
export interface FreshnessRules {
  /** A tag confirmed less than this long ago is served without asking. */
  readonly tagMs: number;
  /** Exceptions to it, first match wins, on `<upstream>/<repository>:<tag>`. */
  readonly tags: readonly { readonly match: string; readonly tagMs: number }[];
  /** How long a 404 is remembered. */
  readonly missingMs: number;
  /** How long past its lifetime a cached answer is served while the upstream gives no answer. */
  readonly staleForMs: number;
  /** Whether it is served when the upstream gave no answer for this reason. */
  readonly staleOn: Readonly<Record<StaleCause, 'serve' | 'fail'>>;
  /** Whether a tag the upstream says is gone is still served from the cache. */
  readonly deletedUpstream: 'serve' | 'deny';
  /** Never ask the upstream; nothing expires. */
  readonly offline: boolean;
}

export type Freshness = 'fresh' | 'revalidate';

/** Whether a cached answer may be served without asking the upstream. One from the future (the clock was set back) may not. */
export function freshnessOf(confirmedAtMs: number, freshForMs: number, nowMs: number): Freshness {
  const ageMs = nowMs - confirmedAtMs;
  return ageMs >= 0 && ageMs < freshForMs ? 'fresh' : 'revalidate';
}

/**
 * How long a cached answer is past its lifetime; negative within it. For one from the future (the clock was set back) it is 0, so that it
 * is served if any stale answers are.
 */
export function staleMsOf(confirmedAtMs: number, freshForMs: number, nowMs: number): number {
  return nowMs < confirmedAtMs ? 0 : nowMs - confirmedAtMs - freshForMs;
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

/** Policies that a new configuration replaces while they are in use. */
export class CurrentPolicies implements FreshnessPolicies {
  #policies: FreshnessPolicies;

  constructor(policies: FreshnessPolicies) {
    this.#policies = policies;
  }

  replace(policies: FreshnessPolicies): void {
    this.#policies = policies;
  }

  rulesOf(label: string): FreshnessRules {
    return this.#policies.rulesOf(label);
  }

  tagLifetimeMs(label: string, name: string): number {
    return this.#policies.tagLifetimeMs(label, name);
  }
}

/** What is known of a tag when a client asks for it. */
export interface TagState {
  /** Whether there is a record of it. */
  readonly isKnown: boolean;
  /** Whether the record may be served without asking. */
  readonly isFresh: boolean;
  /** Whether a recent lookup has failed and led to a stale fallback. */
  readonly hasRecentFallback: boolean;
}

/** How a tag is answered. Pure. */
export function tagDecision({ isKnown, isFresh, hasRecentFallback }: TagState): TagDecision {
  if (hasRecentFallback) return 'repeat-fallback';
  if (isFresh) return 'hit';
  return isKnown ? 'revalidate' : 'look-up';
}

export type TagDecision = 'repeat-fallback' | 'hit' | 'revalidate' | 'look-up';

/** How a tag is answered when its upstream gave no answer, or is too slow. Pure. */
export function failureDecision({
  hasFallback,
  isTooSlow,
}: {
  readonly hasFallback: boolean;
  readonly isTooSlow: boolean;
}): 'serve-fallback' | 'wait' | 'fail' {
  if (hasFallback) return 'serve-fallback';
  return isTooSlow ? 'wait' : 'fail';
}

/** What a failed lookup means for a tag that is cached. */
export type StaleDecision =
  | { readonly word: 'serve-stale'; readonly reason: StaleCause | 'gone' }
  | { readonly word: 'fail' };

/**
 * Without an answer, or after a refusal, the cached tag is served until `staleForMs` past its lifetime. If the upstream says that the tag is
 * gone, `deletedUpstream` decides. Any other error is a bug, and is thrown.
 */
export function staleDecision(cause: unknown, staleMs: number, rules: FreshnessRules): StaleDecision {
  const reason = reasonOf(cause);
  if (reason === undefined) return { word: 'fail' };
  if (reason === 'gone') return rules.deletedUpstream === 'serve' ? { word: 'serve-stale', reason } : { word: 'fail' };
  const isServed = rules.staleOn[reason] === 'serve' && staleMs < rules.staleForMs;
  return isServed ? { word: 'serve-stale', reason } : { word: 'fail' };
}

function reasonOf(cause: unknown): StaleCause | 'gone' | undefined {
  if (cause instanceof UpstreamError) return causeByReason[cause.reason];
  if (!(cause instanceof OciError)) return undefined;
  if (isNotFound(cause)) return 'gone';
  return cause.code === 'DENIED' ? 'refused' : undefined;
}

const causeByReason: Readonly<Record<FailureReason, StaleCause>> = {
  connect: 'connect',
  dns: 'dns',
  tls: 'tls',
  timeout: 'timeout',
  overloaded: 'rateLimit',
  unavailable: 'error',
  refused: 'refused',
  misbehaving: 'error',
  busy: 'error',
};
