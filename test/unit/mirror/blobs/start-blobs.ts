import { StoreWatch } from '../../../../src/mirror/concurrency/abortable-wait.ts';
import { Marks } from '../../../../src/mirror/concurrency/remembered.ts';
import { expect } from 'vitest';
import { noOtherCaches, type OtherCache } from '../../../../src/mirror/ports/other-caches.ts';
import { BorrowedLinks, BlobLinks } from '../../../../src/mirror/access/links.ts';
import { Blobs } from '../../../../src/mirror/blobs/blobs.ts';
import { type ServedBlob, StoredBlobs } from '../../../../src/mirror/blobs/served-blob.ts';
import type { BlobInMemory } from '../../../../src/mirror/blobs/small-blobs.ts';
import { Background } from '../../../../src/mirror/concurrency/background.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { Downloads } from '../../../../src/mirror/downloads/downloads.ts';
import type { ByteRange, OpenedBlob, Upstream } from '../../../../src/mirror/ports/upstream.ts';
import { Relays } from '../../../../src/mirror/relays/relays.ts';
import { createFreshnessPolicies } from '../../../../src/mirror/tags/freshness.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { defaultRules } from '../../../support/freshness-rules.ts';
import { randomBytes } from '../../../support/images.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryBlobs } from '../../../support/memory-blobs.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { body, readAll } from '../../../support/start-download.ts';
import { upstreamNamed } from '../../../support/upstream-named.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

export const bytes = randomBytes(300_000, 'blob');
export const digest = digestOf(bytes);
export const [own, other, third] = ['library/app', 'library/other', 'library/third'].map((name) => ({
  upstream: 'docker.io',
  repository: parseRepository(name),
}));
export const waiting = { signal: new AbortController().signal };
export const gone = new OciError('BLOB_UNKNOWN', 'no such blob');
export const down = new UpstreamError('connect', 'refused');

/** Blobs over an upstream that answers what the test says. */
export function started({
  hasRoom = true,
  verifyReads = false,
  caches = noOtherCaches,
}: {
  hasRoom?: boolean;
  verifyReads?: boolean;
  caches?: Pick<OtherCache, 'openBlob'>;
} = {}) {
  const [clock, observer, index, records] = [
    new ManualClock(),
    new RecordingObserver(),
    new MemoryIndex(),
    new MemoryRecords(),
  ];
  const background = new Background({ observer });
  const memory = new MemoryBudget({ maxBytes: 128 * 1024 * 1024 });
  const relaying = { memory, attemptsWithoutProgress: 0, wait: async () => {}, closeAfterMs: 60_000 };
  const borrowedLinks = new BorrowedLinks({ index, observer });
  const rest = { borrowedLinks, background, clock, makeRoom: async () => true, space: { tidy: async () => {} } };
  const links = new BlobLinks({ records, index, marks: new Marks(), ...rest });
  const store = new MemoryBlobs();
  const inMemory = new Map<Digest, BlobInMemory>();
  const reading = { open: (wanted: Digest) => store.open(wanted), inMemory: (wanted: Digest) => inMemory.get(wanted) };
  const storedBlobs = new StoredBlobs({ store: reading, clock, observer, memory });
  const reserve = async (wanted: number) => ({
    bytes: wanted,
    leftBytes: wanted,
    wrote: (written: number) => written,
    release: () => {},
  });
  const space = { reserve, watch: new StoreWatch(), couldHold: async () => hasRoom };
  const recording = { index, links, clock, observer, unreadable: storedBlobs, shared: {} };
  const downloads = new Downloads({
    store,
    space,
    clock,
    observer,
    recording,
    relaying,
    maxConcurrent: 4,
    maxAbandoned: 1,
    maxWaiting: 4,
    pace: { minBytesPerSecond: 0, windowMs: 1_000 },
  });
  const asked: string[] = [];
  const script = {
    open: async (range: ByteRange | undefined): Promise<OpenedBlob> => ({
      body: body(bytes.subarray(range?.start ?? 0, range?.end === undefined ? undefined : range.end + 1)),
      offset: range?.start ?? 0,
      size: bytes.byteLength,
    }),
    head: async (): Promise<{ size: number | undefined }> => ({ size: bytes.byteLength }),
  };
  const upstream: Upstream = {
    ...upstreamNamed('docker.io'),
    openBlob: (repository, _, { range }) => {
      asked.push(`GET ${repository}`);
      return script.open(range);
    },
    headBlob: (repository) => {
      asked.push(`HEAD ${repository}`);
      return script.head();
    },
  };
  const waiters = {
    wait: async <Value>(_: string, work: () => Promise<Value>) => work(),
    admitBody: () => {},
    body: () => ({ isSlow: () => {}, caughtUp: () => {}, end: () => {} }),
  };
  const blobs = new Blobs({
    store,
    storedBlobs,
    links,
    downloads,
    waiters,
    index,
    clock,
    observer,
    space,
    verifyReads,
    manifests: { promisedSizes: new Map<string, number>() },
    policies: createFreshnessPolicies(new Map(), defaultRules),
    relays: new Relays(relaying),
    shared: {},
    caches,
    minBytesPerSecond: 0,
  });
  const open = (repositoryId = own) => {
    if (!repositoryId) throw new Error('no repository');
    return blobs.open({ upstream, repositoryId, digest }, waiting);
  };
  const openInMemory = (repositoryId = own) => {
    if (!repositoryId) throw new Error('no repository');
    return blobs.inMemory({ repositoryId, digest });
  };
  const head = (repositoryId = own) => {
    if (!repositoryId) throw new Error('no repository');
    return blobs.head({ upstream, repositoryId, digest }, waiting);
  };
  const openHeld = (repositoryId = own, { atOnce = false, signal = waiting.signal, start = 0 } = {}) => {
    if (!repositoryId) throw new Error('no repository');
    return blobs.held.open({ repositoryId, digest }, { atOnce, signal, start });
  };
  const opening = { open, openHeld, openInMemory, head };
  return { ...opening, script, asked, store, inMemory, clock, downloads, links, borrowedLinks, index, background };
}

export async function bytesOf(served: Promise<ServedBlob>): Promise<Buffer> {
  const { source } = await served;
  try {
    return await readAll(source);
  } finally {
    await source[Symbol.asyncDispose]();
  }
}

/** Started, with the blob stored and linked to the repository. */
export async function withStored(options: Parameters<typeof started>[0] = {}) {
  const all = started(options);
  expect((await bytesOf(all.open())).equals(bytes)).toBe(true);
  await all.downloads.stop(waiting);
  expect(all.store.blobs.has(digest)).toBe(true);
  all.asked.length = 0;
  return all;
}
