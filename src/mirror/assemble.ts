import { setTimeout as sleep } from 'node:timers/promises';
import { type Access, createAccess } from './access/access.ts';
import { ExportImages } from './administration/archives/export-images.ts';
import { ImportImages } from './administration/archives/import-images.ts';
import { Images } from './administration/images/image-details.ts';
import { Purge } from './administration/purge.ts';
import { Background } from './concurrency/background.ts';
import { Blobs } from './blobs/blobs.ts';
import { SoftTimeout } from './concurrency/soft-timeout.ts';
import { Marks } from './concurrency/remembered.ts';
import { UpstreamWaiters } from './concurrency/upstream-waiters.ts';
import { createContentLookup } from './tags/stale-image.ts';
import { Manifests } from './manifests/manifests.ts';
import { HeldContent } from './held-content.ts';
import type { RelayRules } from './relays/relay-options.ts';
import { Relays } from './relays/relays.ts';
import { Downloads } from './downloads/downloads.ts';
import { StoredBlobs, withoutUnreadable } from './blobs/served-blob.ts';
import { SmallBlobs } from './blobs/small-blobs.ts';
import { parseHostName } from '../oci/reference.ts';
import { looseLimits, LooseRecords, type LooseRecordsDeps } from './eviction/loose-records.ts';
import { createFreshnessPolicies, CurrentPolicies, type FreshnessPolicies, freshnessOf } from './tags/freshness.ts';
import { BorrowedLinks, BlobLinks } from './access/links.ts';
import { Listings } from './listings/listings.ts';
import { Mirror, type MirrorDeps } from './mirror.ts';
import type { AssembledMirror, MirrorLimits, MirrorParts, MirrorRules } from './mirror-parts.ts';
import { noOtherCaches, noRedirects } from './ports/other-caches.ts';
import type { RecordKey } from './ports/record-store.ts';
import type { Upstream, UpstreamDirectory } from './ports/upstream.ts';
import { GuardedUpstreams, guardedUpstream } from './routing/upstream-choice.ts';
import type { KeptMeanwhile } from './eviction/removal.ts';
import { Space, type SpaceDeps } from './eviction/space.ts';
import { StaleFallbacks } from './tags/stale-fallbacks.ts';
import { tagKey, TagRecords } from './tags/tag-records.ts';
import { Tags } from './tags/tags.ts';
import { Visibility } from './access/visibility.ts';

/** The size of the manifest cache in memory, as a share of the memory budget, to which it is added. Manifests are small and requested most. */
const manifestMemoryShare = 7 / 16;
/** The size of the cache of small blobs, likewise. */
const smallBlobMemoryShare = 1 / 16;
/** How long a cached tag waits for its upstream: a small part of the 30 s after which containerd gives up. */
const staleAfterMs = 2_500;
const retryFailedAfterMs = 30_000;
/** When the other caches are given up that were asked for a tag: longer than each of them takes to time out. */
const askCachesWithinMs = 10_000;
/** The size of the cache of tag listings, likewise, and again of that of referrers. */
const listingMemoryShare = 1 / 4;
/** The timeout for all pages of one listing. */
const listWithinMs = 2 * 60_000;
/** How long a repository that was public is taken to be public. */
const publicForMs = 24 * 3_600_000;
/** The visibility request before a pull leaves it most of those 30 s. */
const askVisibilityWithinMs = 10_000;
const confirmationBatchMs = 5_000;
/** How long an upstream response that no client reads any more keeps its connection. */
const closeUpstreamAfterMs = 2_000;
const maxWaitingDownloads = 1_000;
/** How long a download may stay below the minimum rate: blobs that wait for its slot must begin within seconds. */
const slowWindowMs = 3_000;

/** The parts that a reload keeps: everything with state, and everything that runs. */
interface Core extends Required<MirrorParts> {
  readonly background: Background;
  readonly waiters: UpstreamWaiters;
  readonly policies: CurrentPolicies;
  readonly manifests: Manifests;
  readonly borrowedLinks: BorrowedLinks;
  readonly links: BlobLinks;
  readonly tagRecords: TagRecords;
  readonly space: Space;
  readonly storedBlobs: StoredBlobs;
  readonly smallBlobs: SmallBlobs;
  readonly downloads: Downloads;
  readonly relays: Relays;
  readonly verifyReads: boolean;
  readonly minBytesPerSecond: number;
}

/** Builds the parts of the mirror and connects them. */
export function assembleMirror(parts: MirrorParts, limits: MirrorLimits, rules: MirrorRules): AssembledMirror {
  const { shared = {}, caches = noOtherCaches, redirects = noRedirects, tracing, pins, reserve } = parts;
  const core = createCore(
    { ...parts, shared, caches, redirects, tracing, pins, reserve },
    limits,
    new CurrentPolicies(policiesOf(rules)),
  );
  const mirror = new Mirror(verbsFrom(rules, core));
  return {
    mirror,
    follow: (next) => {
      core.policies.replace(policiesOf(next));
      mirror.follow(verbsFrom(next, core));
    },
    storeAgain: (digest) => {
      core.smallBlobs.forget(digest);
      core.manifests.storeAgain(new Set([digest]));
    },
    sweep: () => core.space.sweep(),
    use: () => core.space.use(),
    purgeIn: (catalogue) => new Purge({ ...core, index: catalogue }),
    imagesIn: (catalogue) => new Images({ ...core, index: catalogue }),
    exports: new ExportImages(core),
    imports: new ImportImages({ ...core, mirror }),
    digestOf: async (repositoryId, tag) => (await core.tagRecords.get(repositoryId, tag))?.digest,
    written: () => core.background.settled(),
    downloads: () => core.downloads.running(),
    confirmationOf: ({ repositoryId, tag }, label) => {
      const record = core.tagRecords.remembered(repositoryId, tag);
      const lifetimeMs = core.policies.tagLifetimeMs(label, tagKey(repositoryId, tag));
      return (
        record && { ...record, isFresh: freshnessOf(record.confirmedAtMs, lifetimeMs, parts.clock.now()) === 'fresh' }
      );
    },
    waitingFor: (label) => core.waiters.waitingFor(label),
    stop: async ({ signal }) => {
      await core.downloads.stop({ signal });
      await core.space.stop(signal);
      core.tagRecords.flush();
      await core.background.idle();
    },
  };
}

function createCore(parts: Required<MirrorParts>, limits: MirrorLimits, policies: CurrentPolicies): Core {
  const { index, clock, observer } = parts;
  const background = new Background({ observer });
  const waiters = new UpstreamWaiters({ maxRequests: limits.maxRequests, clock: parts.clock, observer });
  const tidy = () => background.run('eviction', () => space.tidy());
  const makeRoom = async () => (await space.reserve(0)) !== undefined;
  const forgetIfMissing: Space['forgetIfMissing'] = (record, isMissing) => space.forgetIfMissing(record, isMissing);
  const stored = withoutUnreadable(parts.records, observer);
  const records = looseRecordsOf({ ...parts, records: stored }, limits, {
    tidy,
    removeTag: ({ repositoryId, tag }) => tagRecords.remove(repositoryId, tag),
    forgetTag: ({ repositoryId, tag }) => tagRecords.forget(repositoryId, tag),
  });
  const borrowedLinks = new BorrowedLinks({ index, observer });
  const memoryBytes = parts.memory.maxBytes * manifestMemoryShare;
  const smallBlobs = new SmallBlobs({ ...parts, maxBytes: parts.memory.maxBytes * smallBlobMemoryShare });
  const marks = new Marks();
  const manifests = new Manifests({
    ...parts,
    marks,
    records,
    borrowedLinks,
    background,
    waiters,
    policies,
    memoryBytes,
    makeRoom,
    forgetIfMissing,
  });
  const onRecorded = (key: RecordKey) => records.expect(key);
  const tagRecords = new TagRecords({ records, index, background, onRecorded, batchMs: confirmationBatchMs });
  const evicted = evictedRecords(parts, tagRecords);
  const cached = evictionFromMemory(marks, { ...parts, smallBlobs, tagRecords }, () => ({ manifests, links }));
  const space = new Space({ ...parts, ...limits, records: evicted, loose: records, ...cached });
  const links = new BlobLinks({ records: stored, index, borrowedLinks, background, clock, makeRoom, space, marks });
  const relaying = relayRules(parts, limits);
  const storedBlobs = new StoredBlobs({ ...parts, store: limits.verifyReads ? parts.store : smallBlobs });
  return {
    ...parts,
    records,
    background,
    waiters,
    policies,
    manifests,
    borrowedLinks,
    links,
    tagRecords,
    space,
    storedBlobs,
    smallBlobs,
    downloads: createDownloads(parts, limits, { space, relaying, links, storedBlobs }),
    relays: new Relays(relaying, parts),
    verifyReads: limits.verifyReads,
    minBytesPerSecond: limits.minBytesPerSecond,
  };
}

/** The records of tags and listings without stored content, which are removed first when space is needed. */
function looseRecordsOf(
  { records, index, clock }: MirrorParts,
  { limits }: MirrorLimits,
  { tidy, ...tags }: Pick<LooseRecordsDeps, 'removeTag' | 'forgetTag'> & { readonly tidy: () => void },
): LooseRecords {
  return new LooseRecords({ records, index, clock, ...looseLimits(limits), ...tags, onWritten: tidy });
}

/** The records as eviction removes them: those of tags, which it has dropped before, in turn with the writes of TagRecords. */
function evictedRecords({ records }: MirrorParts, tagRecords: TagRecords): SpaceDeps['records'] {
  return {
    use: records.use.bind(records),
    remove: (key) => (key.kind === 'tag' ? tagRecords.removeDropped(key.repositoryId, key.tag) : records.remove(key)),
  };
}

/** Evicts from memory. What a pull keeps meanwhile stays, and is written again. */
function evictionFromMemory(
  marks: Marks,
  { smallBlobs, shared, tagRecords }: Pick<Core, 'smallBlobs' | 'shared' | 'tagRecords'>,
  caches: () => Pick<Core, 'manifests' | 'links'>,
): Pick<SpaceDeps, 'onEvicted'> & { readonly kept: KeptMeanwhile } {
  return {
    onEvicted: (keys, digest, since) => {
      const { manifests, links } = caches();
      for (const key of keys) {
        if (!('digest' in key)) continue;
        manifests.forget(key.repositoryId, key.digest, since);
        links.forget(key.repositoryId, key.digest, since);
      }
      if (!digest) return;
      smallBlobs.forget(digest);
      shared.removed?.(digest);
    },
    kept: {
      mark: () => marks.last,
      dropTags: (keys) => tagRecords.drop(keys),
      storeAgain: (keys, since) => {
        if (marks.last === since) return;
        const { manifests, links } = caches();
        const evicted = new Set(keys.flatMap((key) => (key.kind === 'manifest' ? key.digest : [])));
        if (evicted.size > 0) manifests.storeAgain(evicted, since); // It looks at every manifest in memory.
        links.recordAgain(keys, since);
      },
    },
  };
}

function relayRules({ memory }: MirrorParts, { attemptsWithoutProgress }: MirrorLimits): RelayRules {
  return {
    attemptsWithoutProgress,
    wait: (ms, { signal }) => sleep(ms, undefined, { signal }),
    memory,
    closeAfterMs: closeUpstreamAfterMs,
  };
}

function createDownloads(
  parts: Required<MirrorParts>,
  limits: MirrorLimits,
  deps: Pick<Core, 'space' | 'links' | 'storedBlobs'> & { readonly relaying: RelayRules },
): Downloads {
  const { index, clock, observer, shared } = parts;
  const { space, links, storedBlobs, relaying } = deps;
  const recording = { index, links, clock, observer, shared, unreadable: storedBlobs };
  const pace = { minBytesPerSecond: limits.minBytesPerSecond, windowMs: slowWindowMs };
  return new Downloads({ ...parts, ...limits, space, recording, relaying, pace, maxWaiting: maxWaitingDownloads });
}

/** The verbs under these rules, which links are borrowed by from now on. */
function verbsFrom(rules: MirrorRules, core: Core): MirrorDeps {
  const asking = { publicForMs, retryFailedAfterMs, askWithinMs: askVisibilityWithinMs };
  const visibility = new Visibility({ ...core, ...asking });
  const access = createAccess({ rulesOf: rules.accessOf, visibility });
  core.borrowedLinks.follow({ access, upstreams: rules.upstreams });
  return verbsUnder(rules, { access, visibility }, core);
}

/** The verbs under one set of rules. */
function verbsUnder(
  rules: MirrorRules,
  { access, visibility }: { readonly access: Access; readonly visibility: Visibility },
  core: Core,
): MirrorDeps {
  const { index, clock, observer, policies, manifests } = core;
  const lookup = createContentLookup(core);
  const fallbacks = new StaleFallbacks({ ...core, lookup, askCachesWithinMs, retryFailedAfterMs });
  const softTimeout = new SoftTimeout({ clock, waitMs: staleAfterMs, slowForMs: retryFailedAfterMs });
  const tags = new Tags({ ...core, fallbacks, softTimeout });
  const blobs = new Blobs(core);
  const listings = new Listings({
    ...core,
    softTimeout,
    retryFailedAfterMs,
    memoryBytes: core.memory.maxBytes * listingMemoryShare,
    listWithinMs,
  });
  const isOffline = ({ label }: Upstream) => policies.rulesOf(label).offline;
  const upstreams = new GuardedUpstreams(rules.upstreams, (upstream) =>
    guardedUpstream(upstream, { access, isOffline: isOffline(upstream) }),
  );
  const choice = { upstreams, defaultUpstream: found(upstreams, rules.defaultUpstream) };
  const held = new HeldContent({ ...core, upstreams: rules.upstreams, access, visibility, blobs: blobs.held });
  const { redirects } = core;
  return { choice, access, tags, manifests, blobs, listings, held, redirects, index, clock, observer };
}

function policiesOf({ freshnessOf, freshness }: MirrorRules): FreshnessPolicies {
  return createFreshnessPolicies(freshnessOf, freshness);
}

function found(upstreams: UpstreamDirectory, name: string): Upstream {
  const host = parseHostName(name);
  const upstream = host && upstreams.find(host);
  if (!upstream) throw new Error(`the default upstream ${name} is not configured`);
  return upstream;
}
