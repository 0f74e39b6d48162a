import { expect, test } from 'vitest';
import { StoredLinks, type StoredLinksDeps } from '../../../src/index/stored-links.ts';
import { ociManifest } from '../../../src/oci/media-types.ts';
import type { RepositoryId } from '../../../src/mirror/ports/repository-id.ts';
import type { Link } from '../../../src/mirror/ports/store-index.ts';
import { type Digest, digestOf } from '../../../src/oci/digest.ts';
import { parseRepository } from '../../../src/oci/reference.ts';
import { preparedStores, type ScriptedStores } from '../../support/file-stores.ts';
import { gate } from '../../support/gate.ts';
import { descriptorOf, randomBlob } from '../../support/images.ts';

const layer = randomBlob(10, 'layer');
const other = randomBlob(10, 'other');
const half = repository('docker.io', 'half/app');
const whole = repository('docker.io', 'whole/app');

function repository(upstream: string, name: string): RepositoryId {
  return { upstream, repository: parseRepository(name) };
}

async function subject(limits: StoredLinksDeps['limits'] = {}) {
  const stores = await preparedStores();
  const failures: unknown[] = [];
  const observer = { internalError: ({ cause }: { cause: unknown }) => failures.push(cause) };
  const links = new StoredLinks({ ...stores, observer, limits });
  const borrowable = (more: Partial<Parameters<StoredLinks['borrowable']>[0]> = {}) =>
    links.borrowable({ repositoryId: half, digest: layer.digest, kind: 'blob', ...more });
  return { ...stores, links, borrowable, failures };
}

async function storeBlob({ store, records }: ScriptedStores, repositoryId: RepositoryId, { digest, bytes } = layer) {
  await store.put(digest, bytes);
  await records.write({ kind: 'blob', repositoryId, digest }, { size: bytes.byteLength, firstServedAtMs: 1 });
}

/** Stores a manifest that names these digests. */
async function storeManifest(
  { store, records }: ScriptedStores,
  repositoryId: RepositoryId,
  named: readonly Parameters<typeof descriptorOf>[0][] = [layer],
  comment = '',
): Promise<Digest> {
  const layers = named.map(descriptorOf);
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociManifest, layers, comment }));
  const digest = digestOf(bytes);
  await store.put(digest, bytes);
  const record = { mediaType: ociManifest, size: bytes.byteLength, firstServedAtMs: 1 };
  await records.write({ kind: 'manifest', repositoryId, digest }, record);
  return digest;
}

/** The repository was linked to a manifest just now that names the digest. */
function nameInMemory(links: StoredLinks, named = layer.digest): void {
  const digest = digestOf(Buffer.from(`in memory ${named}`));
  links.names(digest, [named]);
  links.linked({ repositoryId: half, kind: 'manifest', digest, mediaType: ociManifest, size: 1 });
}

const sources = (links: readonly Link[]) => links.map(({ repositoryId }) => repositoryId.repository).toSorted();

test('the link of another repository is found that a manifest of this one names', async () => {
  const stores = await subject();
  await storeBlob(stores, whole);
  await storeManifest(stores, half);
  const link = { repositoryId: whole, kind: 'blob', digest: layer.digest, mediaType: undefined, size: 10 };
  expect(await stores.borrowable()).toEqual([link]);
});

test('the link of a manifest is found with its media type', async () => {
  const stores = await subject();
  const child = await storeManifest(stores, whole);
  await storeManifest(stores, half, [{ ...layer, digest: child }]);
  expect(await stores.borrowable({ digest: child, kind: 'manifest' })).toMatchObject([
    { repositoryId: whole, kind: 'manifest', digest: child, mediaType: ociManifest },
  ]);
});

test('other repositories are not looked at for what no manifest of this one names', async () => {
  const stores = await subject();
  await storeBlob(stores, whole);
  await storeManifest(stores, half, [other]);
  await storeManifest(stores, whole);
  stores.files.calls.length = 0;
  expect(await stores.borrowable()).toEqual([]);
  const hex = layer.digest.slice('sha256:'.length);
  const seen = stores.files.calls.map(({ path }) => path);
  expect(seen.filter((path) => path.includes('/whole/') || path.endsWith(hex))).toEqual([]);
});

test('a repository of another upstream is no source', async () => {
  const stores = await subject();
  await storeBlob(stores, repository('ghcr.io', 'whole/app'));
  stores.links.linked({
    repositoryId: repository('ghcr.io', 'whole/app'),
    kind: 'blob',
    digest: layer.digest,
    mediaType: undefined,
    size: 10,
  });
  await storeManifest(stores, half);
  expect(await stores.borrowable()).toEqual([]);
});

test('a manifest that is no longer stored names nothing', async () => {
  const stores = await subject();
  await storeBlob(stores, whole);
  const manifest = await storeManifest(stores, half);
  expect(await stores.borrowable()).toHaveLength(1);
  await stores.store.remove(manifest);
  stores.links.forget(manifest);
  expect(await stores.borrowable()).toEqual([]);
});

test('a manifest whose record is not on the disk yet names what it names', async () => {
  const stores = await subject();
  await storeBlob(stores, whole);
  nameInMemory(stores.links);
  expect(sources(await stores.borrowable())).toEqual(['whole/app']);
});

test('no record is read for a digest that is not stored', async () => {
  const stores = await subject();
  nameInMemory(stores.links);
  expect(await stores.borrowable()).toEqual([]);
  expect(stores.files.calls.map(({ operation }) => operation)).toEqual(['open']);
});

test('a record that cannot be read is reported and skipped', async () => {
  const stores = await subject();
  for (const name of ['a', 'b', 'c']) await storeBlob(stores, repository('docker.io', name));
  await storeManifest(stores, half);
  stores.files.failWith = ({ operation, path }) =>
    operation === 'open' && path.includes('/docker.io/b/') ? 'EIO' : undefined;
  expect(sources(await stores.borrowable())).toEqual(['a', 'c']);
  expect(stores.failures).toHaveLength(1);
});

test('callers that ask the same at the same time share one search', async () => {
  const stores = await subject();
  await storeBlob(stores, whole);
  await storeManifest(stores, half);
  stores.files.calls.length = 0;
  const found = await Promise.all(Array.from({ length: 50 }, () => stores.borrowable()));
  expect(new Set(found.map(({ length }) => length))).toEqual(new Set([1]));
  expect(stores.files.calls.filter(({ operation }) => operation === 'entries').length).toBeLessThan(20);
});

test('repositories and manifests are listed once, and one that is linked later is found', async () => {
  const stores = await subject();
  await storeBlob(stores, whole);
  await storeManifest(stores, half, [layer, other]);
  await stores.borrowable();
  const late = repository('docker.io', 'late/app');
  await storeBlob(stores, late, other);
  stores.links.linked({ repositoryId: late, kind: 'blob', digest: other.digest, mediaType: undefined, size: 10 });
  stores.files.calls.length = 0;
  expect(sources(await stores.borrowable({ digest: other.digest }))).toEqual(['late/app']);
  expect(stores.files.calls.filter(({ operation }) => operation === 'entries')).toHaveLength(2);
});

test('at most sixteen links are found, and at most as many repositories are looked at as the limit says', async () => {
  const stores = await subject({ maxRepositories: 30 });
  for (let number = 0; number < 60; number += 1) await storeBlob(stores, repository('docker.io', `app/${number}`));
  await storeManifest(stores, half);
  expect(await stores.borrowable()).toHaveLength(16);
  await stores.store.put(other.digest, other.bytes);
  nameInMemory(stores.links, other.digest);
  stores.files.calls.length = 0;
  expect(await stores.borrowable({ digest: other.digest })).toEqual([]);
  expect(stores.files.calls.filter(({ path }) => path.includes('_blobs'))).toHaveLength(31);
});

test('a search among many repositories is content with what it has found, when most of its time is over', async () => {
  const stores = await subject({ enoughAfterMs: 0 });
  for (let number = 0; number < 10; number += 1)
    await storeBlob(stores, repository('docker.io', `app/${number}`), other);
  await storeBlob(stores, whole);
  await storeManifest(stores, half);
  stores.links.linked({ repositoryId: whole, kind: 'blob', digest: layer.digest, mediaType: undefined, size: 10 });
  stores.files.calls.length = 0;
  expect(sources(await stores.borrowable())).toEqual(['whole/app']);
  expect(stores.files.calls.filter(({ path }) => path.includes('docker.io/app/'))).toEqual([]);
});

test('at most as many manifests of a repository are read as the limit says', async () => {
  const stores = await subject({ maxManifests: 10 });
  for (let number = 0; number < 20; number += 1) await storeManifest(stores, half, [other], `${number}`);
  stores.files.calls.length = 0;
  expect(await stores.borrowable()).toEqual([]);
  const opened = stores.files.calls.filter(
    ({ operation, path }) => operation === 'open' && path.includes('_manifests'),
  );
  expect(opened).toHaveLength(10);
});

test('a search ends after its time, and so do those that wait for it, where the disk hangs', async () => {
  const stores = await subject({ searchWithinMs: 50 });
  await storeManifest(stores, half, [layer, other]);
  const disk = gate();
  stores.files.before = () => disk.opened;
  stores.files.calls.length = 0;
  const digests = Array.from({ length: 2_000 }, (_, number) => digestOf(Buffer.from(`${number}`)));
  const found = await Promise.all(digests.map((digest) => stores.borrowable({ digest })));
  expect(found.flat()).toEqual([]);
  expect(stores.files.calls).toHaveLength(2);
  expect(stores.failures).toEqual([]);
  disk.open();
});

test('a search after one that was given up finds what there is', async () => {
  const stores = await subject({ searchWithinMs: 200 });
  await storeBlob(stores, whole);
  await storeManifest(stores, half);
  const disk = gate();
  stores.files.before = () => disk.opened;
  expect(await stores.borrowable()).toEqual([]);
  disk.open();
  expect(sources(await stores.borrowable())).toEqual(['whole/app']);
});
