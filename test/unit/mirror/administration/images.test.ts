import { expect, test } from 'vitest';
import { Images } from '../../../../src/mirror/administration/images/image-details.ts';
import { maxConfigBytes, referrerKindOf } from '../../../../src/mirror/administration/images/image-documents.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import type { Catalogue, ContentDetails } from '../../../../src/mirror/ports/store-index.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { ociIndex, ociManifest } from '../../../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { content, type Content, descriptorOf } from '../../../support/images.ts';

const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
const staying = { signal: new AbortController().signal };
const digestNamed = (name: string) => digestOf(Buffer.from(name));
const layer = content('application/vnd.oci.image.layer.v1.tar', Buffer.from('layer'));
const nothing: ContentDetails = { content: undefined, linkedBy: [], tags: [], namedBy: [], names: [] };

function json(mediaType: string, value: object): Content {
  return content(mediaType, Buffer.from(JSON.stringify(value)));
}

/** A cache with these contents and records. The index knows what `known` says of a digest. */
function cacheOf({
  stored,
  known = () => nothing,
  referrers,
}: {
  readonly stored: readonly Content[];
  readonly known?: (digest: Digest) => ContentDetails | undefined;
  readonly referrers?: readonly object[];
}) {
  const byDigest = new Map(stored.map((one) => [one.digest, one.bytes]));
  const failures: unknown[] = [];
  const opened: Digest[] = [];
  const images = new Images({
    store: {
      readAll: async (digest, most) => {
        const bytes = byDigest.get(digest);
        return bytes && bytes.byteLength <= most ? bytes : undefined;
      },
      open: async (digest) => {
        opened.push(digest);
        const bytes = byDigest.get(digest);
        return bytes && { size: bytes.byteLength, read: async () => 0, [Symbol.asyncDispose]: async () => {} };
      },
    },
    records: {
      read: async (key: RecordKey) => {
        if (key.kind === 'referrers') return { referrers: referrers ?? [], fetchedAtMs: 7 };
        if (key.kind !== 'manifest') return undefined;
        const found = stored.find(({ digest }) => digest === key.digest);
        return found && { mediaType: found.mediaType, size: found.bytes.byteLength, firstServedAtMs: 5 };
      },
    },
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- of the index only this is asked
    index: { details: async (digest: Digest) => known(digest) } as unknown as Catalogue,
    tagRecords: { get: async () => undefined },
    background: { settled: async () => {} },
    policies: { tagLifetimeMs: () => Infinity, rulesOf: () => Promise.reject(new Error('not asked')) as never },
    memory: new MemoryBudget({ maxBytes: 64 * 1024 * 1024 }),
    clock: { now: () => 10 },
    observer: { internalError: ({ cause }) => failures.push(cause) },
  });
  const find = async (one: Content) => {
    const found = await images.find(
      { repositoryId, reference: one.digest, platform: undefined, isForClients: false, label: 'docker.io' },
      staying,
    );
    if (typeof found === 'string') throw new Error(found);
    return found;
  };
  return { images, find, failures, opened };
}

test('an index that cannot be read, or does not know content yet, does not hide what the disk has', async () => {
  const config = json('application/vnd.oci.image.config.v1+json', { os: 'linux' });
  const manifest = json(ociManifest, { config: descriptorOf(config), layers: [descriptorOf(layer)] });
  for (const known of [() => undefined, () => nothing]) {
    const { find } = cacheOf({ stored: [config, layer, manifest], known });
    const { image, tags } = await find(manifest);
    expect(image).toMatchObject({
      layers: [{ isStored: true }],
      config: { isStored: true },
      configFacts: { os: 'linux' },
    });
    expect(image?.storedBytes).toBe(image?.totalBytes);
    expect(tags).toEqual([]);
  }
});

test('of a layer that thousands share, and a digest with thousands of tags, the first few are told and the rest is counted', async () => {
  const manifest = json(ociManifest, { layers: [descriptorOf(layer)] });
  const many = Array.from({ length: 5_000 }, (_, at) => at);
  const known = (digest: Digest): ContentDetails => ({
    ...nothing,
    content: { size: 1, isManifest: digest !== layer.digest, usedAtMs: 3 },
    linkedBy: many.map((at) => ({ upstream: 'r.test', repository: parseRepository(`app/${at}`) })),
    namedBy: many.map((at) => digestNamed(String(at))),
    tags: many.map((at) => ({ repositoryId, tag: parseTag(`t${at}`) })),
  });
  const { find } = cacheOf({ stored: [layer, manifest], known });
  const { image, tags, moreTags } = await find(manifest);
  expect({ tags: tags.length, moreTags }).toEqual({ tags: 100, moreTags: 4_900 });
  const shared = image?.layers[0]?.sharedBy;
  expect(shared?.repositories).toHaveLength(10);
  expect(shared?.images).toHaveLength(10);
  expect(shared).toMatchObject({ moreRepositories: 4_990, moreImages: 4_990 });
});

test('a config that is too large, or larger than its manifest says, is stored and not looked into', async () => {
  const large = content('application/vnd.oci.image.config.v1+json', Buffer.alloc(maxConfigBytes + 1, ' '));
  const lied = json('application/vnd.oci.image.config.v1+json', { os: 'linux' });
  for (const config of [descriptorOf(large), { ...descriptorOf(lied), size: 1 }]) {
    const manifest = json(ociManifest, { config, layers: [] });
    const { find, failures } = cacheOf({ stored: [large, lied, manifest] });
    const { image } = await find(manifest);
    expect(image?.config).toMatchObject({ isStored: true });
    expect(image?.configFacts).toBeUndefined();
    expect(failures).toEqual([]);
  }
});

test('a manifest that is too large to be parsed, or names too much, is told as such', async () => {
  const huge = json(ociManifest, { layers: [], annotations: { text: 'x'.repeat(1024 * 1024) } });
  const wide = json(ociIndex, {
    manifests: Array.from({ length: 1_500 }, (_, at) => ({
      mediaType: ociManifest,
      digest: digestNamed(`${at}`),
      size: 1,
    })),
  });
  for (const one of [huge, wide]) {
    const { find, opened } = cacheOf({ stored: [huge, wide] });
    const found = await find(one);
    expect(found).toMatchObject({ isStored: true, isTooLarge: true });
    expect(found.image).toBeUndefined();
    expect(opened).toEqual([]);
  }
});

test('a layer that is named twice counts once, and one that clients fetch elsewhere does not count', async () => {
  const foreign = {
    ...descriptorOf(content('application/vnd.oci.image.layer.v1.tar', Buffer.from('elsewhere'))),
    urls: ['http://x'],
  };
  const manifest = json(ociManifest, { layers: [descriptorOf(layer), descriptorOf(layer), foreign] });
  const { find } = cacheOf({ stored: [layer, manifest] });
  const { image } = await find(manifest);
  expect(image?.layers).toHaveLength(3);
  expect(image?.layers[2]).toMatchObject({ isForeign: true, isStored: false });
  expect(image?.totalBytes).toBe(manifest.bytes.byteLength + layer.bytes.byteLength);
});

test('a list of thousands of referrers is told in part', async () => {
  const referrer = (at: number) => ({
    mediaType: ociManifest,
    artifactType: 'application/spdx+json',
    digest: digestNamed(`r${at}`),
    size: 1,
  });
  const manifest = json(ociManifest, { layers: [] });
  const { find } = cacheOf({ stored: [manifest], referrers: Array.from({ length: 3_000 }, (_, at) => referrer(at)) });
  const [found] = (await find(manifest)).referrers;
  expect(found?.referrers).toHaveLength(100);
  expect(found).toMatchObject({
    more: 2_900,
    listedAtMs: 7,
    referrers: [{ kind: 'sbom' }, ...Array.from({ length: 99 }, () => ({}))],
  });
});

test.each([
  ['application/vnd.dev.cosign.artifact.sig.v1+json', {}, 'signature'],
  ['application/vnd.cncf.notary.signature', {}, 'signature'],
  ['application/vnd.dev.sigstore.bundle.v0.3+json', {}, 'signature'],
  [
    'application/vnd.dev.sigstore.bundle.v0.3+json',
    { 'dev.sigstore.bundle.predicateType': 'https://slsa.dev/provenance/v1' },
    'provenance',
  ],
  ['application/spdx+json', undefined, 'sbom'],
  ['application/vnd.cyclonedx+json', 7, 'sbom'],
  ['application/vnd.in-toto+json', {}, 'attestation'],
  ['application/vnd.example.document', {}, 'other'],
])('%s with %j is a %s', (type, annotations, kind) => {
  expect(referrerKindOf(type, annotations)).toBe(kind);
});
