import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { Tag } from '../../oci/reference.ts';
import type { ContentLookup } from '../manifests/content-lookup.ts';
import type { Manifests } from '../manifests/manifests.ts';
import { type FreshnessPolicies, staleDecision, staleMsOf } from './freshness.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { Clock } from '../ports/clock.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Upstream } from '../ports/upstream.ts';
import type { TagRecord } from '../ports/record-store.ts';
import { Remembered, RememberedNotFound } from '../concurrency/remembered.ts';
import { newestComplete } from './stale-image.ts';

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
  readonly clock: Clock;
  readonly policies: FreshnessPolicies;
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
    const { clock, policies, manifests, lookup, retryFailedAfterMs } = this.#deps;
    const { upstream, repositoryId, key } = question;
    const lifetimeMs = policies.tagLifetimeMs(upstream.label, key);
    const staleMs = staleMsOf(known.confirmedAtMs, lifetimeMs, clock.now());
    const decision = staleDecision(cause, staleMs, policies.rulesOf(upstream.label));
    if (decision.word === 'fail') return undefined;
    const manifest = await newestComplete(repositoryId, known, { manifests, lookup });
    if (!manifest) return undefined;
    const { digest, mediaType, bytes } = manifest;
    const fallback: ResolvedTag = {
      record: { ...known, digest, mediaType, size: bytes.byteLength },
      cache: { word: 'stale', reason: decision.reason, upstreamStatus: statusOf(cause) },
    };
    this.#remember(key, fallback, Math.min(retryFailedAfterMs, lifetimeMs));
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

function statusOf(cause: unknown): number | undefined {
  if (cause instanceof UpstreamError) return cause.upstreamStatus;
  return cause instanceof OciError ? (cause.upstreamStatus ?? cause.status) : undefined;
}
