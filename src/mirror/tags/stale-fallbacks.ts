import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { Tag } from '../../oci/reference.ts';
import type { Manifests } from '../manifests/manifests.ts';
import { type FreshnessPolicies, staleDecision, staleMsOf } from './freshness.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { OtherCache } from '../ports/other-caches.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Upstream } from '../ports/upstream.ts';
import type { TagRecord } from '../ports/record-store.ts';
import type { Waiting } from '../ports/waiting.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import { Remembered, RememberedNotFound } from '../concurrency/remembered.ts';
import { type ContentLookup, newestComplete } from './stale-image.ts';
import type { TagRecords } from './tag-records.ts';

/** Which tag is asked for. */
export interface TagQuestion {
  readonly upstream: Upstream;
  readonly repositoryId: RepositoryId;
  readonly tag: Tag;
  readonly key: string;
}

export interface ResolvedTag {
  readonly record: TagRecord;
  readonly cache: CacheStatus;
}

export interface StaleFallbacksDeps {
  readonly manifests: Pick<Manifests, 'cached'>;
  readonly lookup: ContentLookup;
  readonly tagRecords: Pick<TagRecords, 'remembered' | 'put'>;
  readonly caches: Pick<OtherCache, 'tag'>;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly policies: FreshnessPolicies;
  /** How long other caches have to answer. */
  readonly askCachesWithinMs: number;
  /** How long a failed lookup is not repeated. */
  readonly retryFailedAfterMs: number;
}

/**
 * What is served for a tag while its upstream gives no answer. What a failed lookup has led to is remembered for a while, so that not every
 * pull repeats the lookup.
 */
export class StaleFallbacks {
  readonly #deps: StaleFallbacksDeps;
  readonly #failed: Remembered<ResolvedTag | OciError>;
  /** Whether any lookup has failed. Until then {@link recent} finds nothing, so that it need not be called for each pull. */
  hasFailed = false;

  constructor(deps: StaleFallbacksDeps) {
    this.#deps = deps;
    this.#failed = new Remembered({ clock: deps.clock, max: 20_000 });
  }

  /** The fallback that a recent failed lookup has led to. @throws RememberedNotFound if the upstream has recently answered 404. */
  recent(key: string): ResolvedTag | undefined {
    const outcome = this.#failed.get(key);
    if (outcome instanceof OciError) throw new RememberedNotFound(outcome);
    return outcome;
  }

  /** The newest cached image that the tag has pointed to. @returns undefined if there is none, or the rules forbid to serve it. */
  async find(question: TagQuestion, known: TagRecord, cause: unknown): Promise<ResolvedTag | undefined> {
    const { clock, policies, manifests, lookup } = this.#deps;
    const { upstream, repositoryId, key } = question;
    const lifetimeMs = policies.tagLifetimeMs(upstream.label, key);
    const staleMs = staleMsOf(known.confirmedAtMs, lifetimeMs, clock.now());
    const decision = staleDecision(cause, staleMs, policies.rulesOf(upstream.label));
    if (decision.word === 'fail') return undefined;
    const manifest = await newestComplete(repositoryId, known, { manifests, lookup });
    if (!manifest) return undefined;
    const { digest, mediaType, bytes } = manifest;
    const record = { ...known, digest, mediaType, size: bytes.byteLength };
    return this.#remembered(question, { record, cache: staleStatus(decision.reason, cause) });
  }

  /**
   * What another cache has recorded for the tag, while the upstream gives no answer. Its manifest may have to be fetched.
   * @returns undefined if no other cache has it, or the rules forbid to serve it. Never throws.
   */
  async findElsewhere(question: TagQuestion, cause: unknown, waiting: Waiting): Promise<ResolvedTag | undefined> {
    const { clock, policies, tagRecords } = this.#deps;
    const { upstream, repositoryId, tag, key } = question;
    if (!(cause instanceof UpstreamError)) return undefined;
    const rules = policies.rulesOf(upstream.label);
    if (staleDecision(cause, -Infinity, rules).word === 'fail') return undefined;
    const told = await this.#ask(question, waiting);
    if (!told) return undefined;
    const confirmedAtMs = Math.min(told.confirmedAtMs, clock.now());
    const staleMs = staleMsOf(confirmedAtMs, policies.tagLifetimeMs(upstream.label, key), clock.now());
    const decision = staleDecision(cause, staleMs, rules);
    if (decision.word === 'fail') return undefined;
    const { digest, mediaType, size } = told;
    const record = { digest, mediaType, size, confirmedAtMs };
    // The upstream may have answered meanwhile.
    if (!tagRecords.remembered(repositoryId, tag)) tagRecords.put(repositoryId, tag, record);
    return this.#remembered(question, { record, cache: staleStatus(decision.reason, cause) });
  }

  async #ask({ repositoryId, tag }: TagQuestion, { signal }: Waiting): Promise<TagRecord | undefined> {
    const { caches, observer, askCachesWithinMs } = this.#deps;
    const limited = AbortSignal.any([signal, AbortSignal.timeout(askCachesWithinMs)]);
    try {
      return await abortable(caches.tag(repositoryId, tag, { signal: limited }), limited);
    } catch (cause) {
      if (!limited.aborted && !(cause instanceof UpstreamError))
        observer.internalError({ part: 'other caches', cause });
      return undefined;
    }
  }

  #remembered({ upstream, key }: TagQuestion, fallback: ResolvedTag): ResolvedTag {
    const { policies, retryFailedAfterMs } = this.#deps;
    this.#remember(key, fallback, Math.min(retryFailedAfterMs, policies.tagLifetimeMs(upstream.label, key)));
    return fallback;
  }

  rememberMissing({ upstream, key }: TagQuestion, answer: OciError): void {
    this.#remember(key, answer, this.#deps.policies.rulesOf(upstream.label).missingMs);
  }

  #remember(key: string, outcome: ResolvedTag | OciError, forMs: number): void {
    this.hasFailed = true;
    this.#failed.remember(key, outcome, forMs);
  }

  /** To be called when the upstream has answered. */
  forget(key: string): void {
    this.#failed.forget(key);
  }
}

function staleStatus(reason: string, cause: unknown): CacheStatus {
  return { word: 'stale', reason, upstreamStatus: statusOf(cause) };
}

function statusOf(cause: unknown): number | undefined {
  if (cause instanceof UpstreamError) return cause.upstreamStatus;
  return cause instanceof OciError ? (cause.upstreamStatus ?? cause.status) : undefined;
}
