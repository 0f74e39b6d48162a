import { Background } from '../../src/mirror/concurrency/background.ts';
import { UpstreamWaiters } from '../../src/mirror/concurrency/upstream-waiters.ts';
import { createFreshnessPolicies } from '../../src/mirror/tags/freshness.ts';
import { noOtherCaches, type OtherCache } from '../../src/mirror/ports/other-caches.ts';
import type { RepositoryId } from '../../src/mirror/ports/repository-id.ts';
import type { RepositoryVisibility } from '../../src/mirror/ports/upstream.ts';
import { Visibility } from '../../src/mirror/access/visibility.ts';
import { UpstreamError } from '../../src/oci/errors.ts';
import { parseRepository, parseTag, type Reference } from '../../src/oci/reference.ts';
import { RecordingObserver } from '../unit/upstream/recording-observer.ts';
import { defaultRules } from './freshness-rules.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryRecords } from './memory-records.ts';

export const day = 24 * 3_600_000;
/** When the decisions are made, and what was before. */
export const now = 10 * day;
export const agoMs = (ms: number): number => now - ms;
export const repositoryId: RepositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };

class ScriptedUpstream {
  readonly label = 'docker.io';
  readonly asked: (Reference | undefined)[] = [];
  /** What it says; absent: nothing at all. */
  says: RepositoryVisibility | undefined = 'public';
  held = Promise.resolve();

  async askVisibility(
    _repository: unknown,
    reference: Reference | undefined,
    { signal }: { signal: AbortSignal },
  ): Promise<RepositoryVisibility> {
    this.asked.push(reference);
    const left = Promise.withResolvers<never>();
    signal.addEventListener('abort', () => left.reject(signal.reason), { once: true });
    await Promise.race([this.held, left.promise]);
    if (this.says === undefined) throw new UpstreamError('overloaded', 'too much', { retryAfterSeconds: 7 });
    return this.says;
  }
}

const rules = {
  tagMs: 0,
  tags: [],
  missingMs: 30_000,
  staleForMs: Infinity,
  deletedUpstream: 'serve',
  offline: false,
  staleOn: defaultRules.staleOn,
} as const;

/** A repository's visibility, asked of an upstream that says what the test says. */
export function visibilityOf({
  askWithinMs = 30_000,
  caches = noOtherCaches,
}: {
  askWithinMs?: number;
  caches?: Pick<OtherCache, 'visibility'>;
} = {}) {
  const upstream = new ScriptedUpstream();
  const clock = new ManualClock();
  const records = new MemoryRecords();
  const observer = new RecordingObserver();
  const background = new Background({ observer });
  const policies = createFreshnessPolicies(new Map(), rules);
  const waiters = new UpstreamWaiters({ maxRequests: 1_000, clock, observer });
  const create = () =>
    new Visibility({
      records,
      background,
      waiters,
      clock,
      policies,
      publicForMs: day,
      retryFailedAfterMs: 60_000,
      askWithinMs,
      caches,
    });
  const visibility = create();
  const check = async (by = visibility, signal = new AbortController().signal) =>
    by.check({ upstream, repositoryId, reference: parseTag('latest') }, { signal });
  const checkBeforeAsking = async () =>
    visibility.checkBeforeAsking(
      { upstream, repositoryId, reference: parseTag('latest') },
      { signal: new AbortController().signal },
    );
  return { upstream, clock, records, background, visibility, check, checkBeforeAsking, restarted: create };
}
