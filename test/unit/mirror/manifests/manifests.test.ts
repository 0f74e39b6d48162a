import { Marks } from '../../../../src/mirror/concurrency/remembered.ts';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { noOtherCaches, type OtherCache } from '../../../../src/mirror/ports/other-caches.ts';
import type { SharedWork } from '../../../../src/mirror/ports/shared-work.ts';
import { Background } from '../../../../src/mirror/concurrency/background.ts';
import { createFreshnessPolicies } from '../../../../src/mirror/tags/freshness.ts';
import { BorrowedLinks } from '../../../../src/mirror/access/links.ts';
import { UpstreamWaiters } from '../../../../src/mirror/concurrency/upstream-waiters.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { Manifests } from '../../../../src/mirror/manifests/manifests.ts';
import type { FetchedManifest } from '../../../../src/mirror/ports/upstream.ts';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { configOf } from '../../../support/config.ts';
import { fileStores } from '../../../support/file-stores.ts';
import { gate } from '../../../support/gate.ts';
import { image } from '../../../support/images.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { ScriptedFiles } from '../../../support/scripted-files.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { upstreamNamed } from '../../../support/upstream-named.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
const { manifest } = image();

/** Manifests on a disk that waits for `disk`. */
async function started({
  shared = {},
  caches = noOtherCaches,
  memoryBytes = 1024 * 1024,
}: {
  memoryBytes?: number;
  shared?: Pick<SharedWork, 'manifest' | 'readable' | 'stored'>;
  caches?: Pick<OtherCache, 'manifest'>;
} = {}) {
  const files = new ScriptedFiles();
  const stores = fileStores({ path: join(await temporaryDirectory(), 'data'), files });
  await stores.store.prepare();
  const disk = gate();
  files.before = () => disk.opened;
  const index = new MemoryIndex();
  const observer = new RecordingObserver();
  const background = new Background({ observer });
  const { freshness } = await configOf({ upstreams: { 'docker.io': {} } });
  const manifests = new Manifests({
    marks: new Marks(),
    memory: new MemoryBudget({ maxBytes: 64 * 1024 * 1024 }),
    ...stores,
    index,
    borrowedLinks: new BorrowedLinks({ index, observer }),
    background,
    waiters: new UpstreamWaiters({ maxRequests: 1_000, clock: new ManualClock(), observer }),
    observer,
    policies: createFreshnessPolicies(new Map(), freshness),
    memoryBytes,
    makeRoom: async () => true,
    forgetIfMissing: async ({ digest }, isMissing) => void ((await isMissing()) && (await index.forget(digest))),
    shared,
    caches,
  });
  return { ...stores, manifests, index, disk, background };
}

test('a manifest that is stored again is not the next to be evicted meanwhile', async () => {
  const { manifests, index, clock, disk, background } = await started();
  index.recordContent({ ...manifest, size: manifest.bytes.length, isManifest: true, names: [], usedAtMs: 1 });
  manifests.keep(repositoryId, { ...manifest, mediaType: ociManifest });
  expect(index.contents.get(manifest.digest)?.usedAtMs).toBe(clock.now());
  disk.open();
  await background.idle();
});

test('a manifest that is evicted while it is written is counted, since the disk has it', async () => {
  const { manifests, index, clock, disk, background } = await started();
  const usedAtMs = clock.now();
  manifests.keep(repositoryId, { ...manifest, mediaType: ociManifest });
  await nextTurn(); // Its write has begun.
  await index.forget(manifest.digest);
  manifests.forget(repositoryId, manifest.digest);
  clock.advance(1_000);
  disk.open();
  await background.idle();
  expect(index.contents.get(manifest.digest)?.isManifest).toBe(true);
  expect(index.links).toMatchObject([{ digest: manifest.digest, usedAtMs }]);
});

test('a manifest whose repository is purged before it is written is not counted, unless another repository is about to write it', async () => {
  const { manifests, index, disk, background } = await started();
  const other = { ...repositoryId, repository: parseRepository('library/other') };
  for (const each of [repositoryId, other]) manifests.keep(each, { ...manifest, mediaType: ociManifest });
  manifests.forget(repositoryId, manifest.digest);
  disk.open();
  await background.idle();
  expect(index.contents.has(manifest.digest)).toBe(true);
});

test('a manifest that leaves memory before it is written is forgotten by the index too', async () => {
  const { manifests, index, disk, background } = await started();
  manifests.keep(repositoryId, { ...manifest, mediaType: ociManifest });
  manifests.forget(repositoryId, manifest.digest);
  disk.open();
  await background.idle();
  expect(index.contents.has(manifest.digest)).toBe(false);
});

const sibling = { ...repositoryId, repository: parseRepository('library/sibling') };
const recordOf = (of: typeof repositoryId) =>
  ({ kind: 'manifest', repositoryId: of, digest: manifest.digest }) as const;

test('a manifest that memory drops before it is written gets its record where another repository has stored its content', async () => {
  const { manifests, index, disk, background, store, records } = await started({
    memoryBytes: manifest.bytes.length + 600,
  });
  disk.open();
  manifests.keep(repositoryId, { ...manifest, mediaType: ociManifest });
  await background.idle();
  manifests.keep(sibling, { ...manifest, mediaType: ociManifest }); // Memory holds one.
  manifests.keep(repositoryId, { ...image({ name: 'other' }).manifest, mediaType: ociManifest });
  await background.idle();
  expect(await store.readAll(manifest.digest, 1e6)).toEqual(Buffer.from(manifest.bytes));
  expect(index.links.filter(({ digest }) => digest === manifest.digest)).toHaveLength(2);
  for (const each of [repositoryId, sibling])
    expect(await records.read(recordOf(each))).toMatchObject({ mediaType: ociManifest });
});

test('a manifest that memory drops before it is written waits for another repository that is about to store its content', async () => {
  const { manifests, disk, background, records } = await started({ memoryBytes: 2 * (manifest.bytes.length + 600) });
  manifests.keep(sibling, { ...manifest, mediaType: ociManifest });
  manifests.keep(repositoryId, { ...manifest, mediaType: ociManifest });
  manifests.keep(repositoryId, { ...image({ name: 'other' }).manifest, mediaType: ociManifest });
  disk.open();
  await background.idle();
  await background.idle();
  for (const each of [repositoryId, sibling])
    expect(await records.read(recordOf(each))).toMatchObject({ mediaType: ociManifest });
});

test('a manifest that is purged before it is written gets no record, also where another repository has stored its content', async () => {
  const { manifests, disk, background, records } = await started();
  for (const each of [repositoryId, sibling]) manifests.keep(each, { ...manifest, mediaType: ociManifest });
  manifests.forget(sibling, manifest.digest);
  disk.open();
  await background.idle();
  expect(await records.read(recordOf(repositoryId))).toBeDefined();
  expect(await records.read(recordOf(sibling))).toBeUndefined();
});

const fetchable = { ...manifest, mediaType: ociManifest };
const waiting = { signal: new AbortController().signal };

/** An upstream that answers requests for the manifest by `answer`, and counts them. */
function upstreamOf(answer: () => Promise<FetchedManifest>) {
  let asked = 0;
  const ask = () => {
    asked += 1;
    return answer();
  };
  const headManifest = async () => ({ digest: (await ask()).digest, mediaType: ociManifest, size: undefined });
  return { upstream: { ...upstreamNamed('docker.io'), getManifest: ask, headManifest }, asked: () => asked };
}

test('a manifest that another replica has costs the upstream nothing, and is announced once it is stored', async () => {
  const [readable, announced]: [string[], unknown[]] = [[], []];
  const shared = {
    manifest: async () => fetchable,
    readable: () => readable.push('memory'),
    stored: (question: unknown) => announced.push(question),
  };
  const { manifests, disk, background } = await started({ shared });
  const { upstream, asked } = upstreamOf(() => Promise.reject(new UpstreamError('connect', 'refused')));
  const { value } = await manifests.fetch(upstream, repositoryId, manifest.digest, waiting);
  expect(value.bytes).toEqual(manifest.bytes);
  expect(asked()).toBe(0);
  expect(readable).toEqual(['memory']);
  expect(announced).toEqual([]);
  disk.open();
  await background.idle();
  expect(announced).toEqual([{ repositoryId, digest: manifest.digest }]);
});

test('while the upstream gives no answer, a manifest comes from another cache', async () => {
  const { manifests, disk, background } = await started({ caches: { manifest: async () => fetchable } });
  disk.open();
  const { upstream } = upstreamOf(() => Promise.reject(new UpstreamError('connect', 'refused')));
  const head = await manifests.head(upstream, repositoryId, manifest.digest, waiting);
  expect(head.value).toMatchObject({ digest: manifest.digest, size: manifest.bytes.length });
  await background.idle();
  expect((await manifests.cached(repositoryId, manifest.digest))?.bytes).toEqual(manifest.bytes);
});

test('a cache that gives no answer either leaves the error of the upstream', async () => {
  const refused = new UpstreamError('connect', 'refused');
  const caches = { manifest: () => Promise.reject(new UpstreamError('timeout', 'silent')) };
  const { manifests } = await started({ caches });
  const { upstream } = upstreamOf(() => Promise.reject(refused));
  await expect(manifests.fetch(upstream, repositoryId, manifest.digest, waiting)).rejects.toBe(refused);
});

test('a manifest that the upstream says it does not have is not looked for in another cache', async () => {
  const { manifests } = await started({ caches: { manifest: async () => fetchable } });
  const { upstream } = upstreamOf(() => Promise.reject(new OciError('MANIFEST_UNKNOWN', 'gone')));
  const fetched = manifests.fetch(upstream, repositoryId, manifest.digest, waiting);
  await expect(fetched).rejects.toMatchObject({ code: 'MANIFEST_UNKNOWN' });
});
