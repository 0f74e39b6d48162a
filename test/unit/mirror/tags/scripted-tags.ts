import { Background } from '../../../../src/mirror/concurrency/background.ts';
import { type SoftTimeout, TooSlow } from '../../../../src/mirror/concurrency/soft-timeout.ts';
import { TooManyWaiters } from '../../../../src/mirror/concurrency/upstream-waiters.ts';
import type { CachedManifest } from '../../../../src/mirror/manifests/manifests.ts';
import type { OtherCache } from '../../../../src/mirror/ports/other-caches.ts';
import type { TagRecord } from '../../../../src/mirror/ports/record-store.ts';
import type { Waiting } from '../../../../src/mirror/ports/waiting.ts';
import type { SharedWork, TagTurn } from '../../../../src/mirror/ports/shared-work.ts';
import type { FetchedManifest, ManifestHead, Upstream } from '../../../../src/mirror/ports/upstream.ts';
import { createFreshnessPolicies, type FreshnessRules } from '../../../../src/mirror/tags/freshness.ts';
import { StaleFallbacks } from '../../../../src/mirror/tags/stale-fallbacks.ts';
import { TagRecords } from '../../../../src/mirror/tags/tag-records.ts';
import { Tags } from '../../../../src/mirror/tags/tags.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { defaultRules } from '../../../support/freshness-rules.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { upstreamNamed } from '../../../support/upstream-named.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

export const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
export const tag = parseTag('latest');
export const minute = 60_000;
export const down = new UpstreamError('connect', 'refused');
export const gone = new OciError('MANIFEST_UNKNOWN', 'no such tag');

export function manifestNamed(name: string): FetchedManifest {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociManifest, annotations: { name } }));
  return { digest: digestOf(bytes), mediaType: ociManifest, bytes };
}

export const [one, two] = [manifestNamed('one'), manifestNamed('two')];
export const headOf = ({ digest, mediaType, bytes }: FetchedManifest): ManifestHead => ({
  digest,
  mediaType,
  size: bytes.byteLength,
});

/** The record of a tag that points to a manifest. */
export function recordOf({ digest, mediaType, bytes }: FetchedManifest, confirmedAtMs: number): TagRecord {
  return { digest, mediaType, size: bytes.byteLength, confirmedAtMs };
}

/** The soft timeout, which is over at once. */
export function tooSlow(): Promise<never> {
  const timeout = Promise.reject(new TooSlow());
  timeout.catch(() => {});
  return timeout;
}

/** Tags over an upstream that answers what the test says. */
export function started(rules: Partial<FreshnessRules> = {}, askCachesWithinMs = minute) {
  const clock = new ManualClock();
  const observer = new RecordingObserver();
  const index = new MemoryIndex();
  const background = new Background({ observer });
  const records = new MemoryRecords();
  const policies = createFreshnessPolicies(new Map(), { ...defaultRules, tagMs: minute, ...rules });
  const cached = new Map<Digest, CachedManifest>();
  const asked: string[] = [];
  const askedCaches: string[] = [];
  const script = {
    head: async (): Promise<ManifestHead> => headOf(one),
    get: async (): Promise<FetchedManifest> => one,
    /** Of the soft timeout: rejects when it is over. */
    timeout: new Promise<never>(() => {}),
    isCrowded: false,
    fetching: async (): Promise<FetchedManifest> => two,
    /** What another cache has recorded for the tag. */
    elsewhere: (() => Promise.resolve(undefined)) as (waiting: Waiting) => Promise<TagRecord | undefined>,
    /** Of the other replicas. */
    turn: async (..._question: Parameters<NonNullable<SharedWork['tagTurn']>>): Promise<TagTurn> => ({
      kind: 'ask',
      claim: { answered: () => {}, [Symbol.dispose]: () => {} },
    }),
  };
  const manifests = {
    keep: (_: unknown, fetched: FetchedManifest) => {
      const manifest = { ...fetched, firstServedAtMs: clock.now() };
      cached.set(fetched.digest, manifest);
      return manifest;
    },
    cached: async (_: unknown, digest: Digest) => cached.get(digest),
    fetch: async () => ({ value: manifests.keep(repositoryId, await script.fetching()), collapsed: false }),
    keepFetching: () => undefined,
  };
  const softTimeout: Pick<SoftTimeout, 'for'> = { for: (work) => Promise.race([work, script.timeout]) };
  const tagRecords = new TagRecords({ records, index, background, onRecorded: () => {}, batchMs: minute });
  const lookup = async () => 'stored' as const;
  const caches = {
    tag: (...[, name, waiting]: Parameters<OtherCache['tag']>) => {
      askedCaches.push(name);
      return script.elsewhere(waiting);
    },
  };
  const limits = { askCachesWithinMs, retryFailedAfterMs: 30_000 };
  const fallbacks = new StaleFallbacks({
    manifests,
    lookup,
    tagRecords,
    caches,
    clock,
    observer,
    policies,
    ...limits,
  });
  const waiters = {
    wait: async <Value>(label: string, work: () => Promise<Value>) => {
      if (script.isCrowded) throw new TooManyWaiters(label);
      return work();
    },
  };
  const rateLimits = { lifetimeFactor: () => 1 };
  const upstream: Upstream = {
    ...upstreamNamed('docker.io'),
    headManifest: (_, reference) => {
      asked.push(`HEAD ${reference}`);
      return script.head();
    },
    getManifest: (_, reference) => {
      asked.push(`GET ${reference}`);
      return script.get();
    },
  };
  const shared: Pick<SharedWork, 'tagTurn'> = { tagTurn: (...question) => script.turn(...question) };
  const deps = {
    shared,
    tagRecords,
    manifests,
    fallbacks,
    softTimeout,
    waiters,
    clock,
    observer,
    policies,
    rateLimits,
  };
  const tags = new Tags(deps);
  const resolve = (options: { wantsBody?: boolean; signal?: AbortSignal } = {}) =>
    tags.resolve(
      { upstream, repositoryId, tag, wantsBody: options.wantsBody ?? true },
      { signal: options.signal ?? new AbortController().signal },
    );
  return { tags, upstream, clock, observer, script, asked, askedCaches, resolve, tagRecords, cached };
}

/** Started, with the tag resolved once, and past its lifetime. */
export async function expired(rules: Partial<FreshnessRules> = {}) {
  const all = started(rules);
  await all.resolve();
  all.asked.length = 0;
  all.clock.advance(minute);
  return all;
}
