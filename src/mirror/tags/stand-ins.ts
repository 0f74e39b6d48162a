import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { Tag } from '../../oci/reference.ts';
import type { ContentLookup, Manifests } from '../manifests/manifests.ts';
import { type FreshnessPolicies, staleDecision, staleMsOf } from './freshness.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { Clock } from '../ports/clock.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Upstream } from '../ports/upstream.ts';
import type { TagRecord } from '../ports/record-store.ts';
import { Remembered, RememberedNotFound } from '../concurrency/remembered.ts';
import { newestComplete } from './stale-image.ts';

/** One question about one tag. */
export interface TagQuestion {
  readonly upstream: Upstream;
  readonly of: RepositoryId;
  readonly tag: Tag;
  readonly key: string;
}

export interface ResolvedTag {
  readonly record: TagRecord;
  readonly cache: CacheStatus;
}

export interface StandInsDeps {
  readonly manifests: Pick<Manifests, 'cached'>;
  readonly lookup: ContentLookup;
  readonly clock: Clock;
  readonly policies: FreshnessPolicies;
  /** How long a failed look upstream is not repeated. */
  readonly retryFailedAfterMs: number;
}

/**
 * What is served in the place of a tag while its upstream gives no answer. A failed look moves the clock: it is repeated once in a while,
 * not at every pull.
 */
export class StandIns {
  readonly #deps: StandInsDeps;
  readonly #failed: Remembered<ResolvedTag | OciError>;

  constructor(deps: StandInsDeps) {
    this.#deps = deps;
    this.#failed = new Remembered({ clock: deps.clock, max: 20_000 });
  }

  /** What a look that failed a moment ago has led to. @throws RememberedNotFound */
  remembered(key: string): ResolvedTag | undefined {
    const outcome = this.#failed.get(key);
    if (outcome instanceof OciError) throw new RememberedNotFound(outcome);
    return outcome;
  }

  /** The newest cached image this tag has meant, unless the rules forbid it. */
  async find(question: TagQuestion, known: TagRecord, cause: unknown): Promise<ResolvedTag | undefined> {
    const { clock, policies, manifests, lookup, retryFailedAfterMs } = this.#deps;
    const { upstream, of, key } = question;
    const lifetimeMs = policies.tagLifetimeMs(upstream.label, key);
    const staleMs = staleMsOf(known.confirmedAtMs, lifetimeMs, clock.now());
    const decision = staleDecision(cause, staleMs, policies.rulesOf(upstream.label));
    if (decision.word === 'fail') return undefined;
    const manifest = await newestComplete(of, known, { manifests, lookup });
    if (!manifest) return undefined;
    const { digest, mediaType, bytes } = manifest;
    const standIn: ResolvedTag = {
      record: { ...known, digest, mediaType, size: bytes.byteLength },
      cache: { word: 'stale', reason: decision.reason, upstreamStatus: statusOf(cause) },
    };
    this.#failed.remember(key, standIn, Math.min(retryFailedAfterMs, lifetimeMs));
    return standIn;
  }

  rememberMissing({ upstream, key }: TagQuestion, answer: OciError): void {
    this.#failed.remember(key, answer, this.#deps.policies.rulesOf(upstream.label).missingMs);
  }

  /** The upstream has answered. */
  forget(key: string): void {
    this.#failed.forget(key);
  }
}

function statusOf(cause: unknown): number | undefined {
  if (cause instanceof UpstreamError) return cause.upstreamStatus;
  return cause instanceof OciError ? (cause.upstreamStatus ?? cause.status) : undefined;
}
