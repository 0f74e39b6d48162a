import type { RebuildableIndex } from '../../src/index/rebuild.ts';
import type { RepositoryId } from '../../src/mirror/ports/repository-id.ts';
import type { Index } from '../../src/mirror/ports/store-index.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import { ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../src/oci/reference.ts';

/** How much a generated store has. */
export interface StoreCounts {
  readonly repositories: number;
  /** Spread over the repositories; a few repositories have many. Each is an image of its own. */
  readonly tags: number;
  /** Layers and configs, spread over the images; each is linked to the repository of its image. */
  readonly blobs: number;
}

export type FilledIndex = Index & Pick<RebuildableIndex, 'settled'>;

const registries = ['docker.io', 'ghcr.io', 'quay.io', 'registry.k8s.io'];
const platforms = ['linux/amd64', 'linux/arm64/v8', 'linux/arm/v7', 'windows/amd64'];
/** Every so many images there is one for two platforms. */
const indexEvery = 2;
/** So many tags are in one repository of nightly builds. */
const nightlyShare = 0.1;
const imagesPerStep = 25;
const dayMs = 86_400_000;

/** Records a store that does not exist: the same counts give the same store. @param nowMs the last pulls are in the month before. */
export async function fillIndex(index: FilledIndex, counts: StoreCounts, nowMs: number): Promise<void> {
  const signal = new AbortController().signal;
  for (let image = 0; image < counts.tags; image += 1) {
    recordImage(index, image, counts, nowMs - ((image * 7_919) % 30) * dayMs - image);
    if (image % imagesPerStep === 0) await index.settled({ signal });
  }
  await index.settled({ signal });
}

function recordImage(index: FilledIndex, image: number, counts: StoreCounts, usedAtMs: number): void {
  const repositoryId = repositoryOf(image, counts);
  const blobs = range(blobsBefore(image, counts), blobsBefore(image + 1, counts)).map((blob) => ({
    digest: digestOf(Buffer.from(`blob ${blob}`)),
    size: 10_000 + ((blob * 104_729) % 50_000_000),
  }));
  for (const { digest, size } of blobs) {
    index.recordContent({ digest, size, isManifest: false, names: [], usedAtMs });
    index.recordLink({ repositoryId, kind: 'blob', digest, mediaType: undefined, size });
  }
  const names = blobs.map(({ digest }) => digest);
  const bytes = blobs.reduce((sum, { size }) => sum + size, 2_000);
  const manifest = recordManifest(index, { repositoryId, name: `image ${image}`, names, bytes, usedAtMs });
  const platform = platforms[Math.floor(image / 10) % 20 === 0 ? Math.floor(image / 2) % 4 : Math.floor(image / 2) % 2];
  const images = [
    { digest: manifest, platform },
    { digest: digestOf(Buffer.from(`other ${image}`)), platform: 'linux/s390x' },
  ];
  const top =
    image % indexEvery === 0
      ? recordManifest(index, { repositoryId, name: `index ${image}`, images, bytes: 2_000, usedAtMs })
      : manifest;
  index.recordTag(repositoryId, parseTag(tagOf(image, counts)), top);
  index.recordRepositoryUse(repositoryId, usedAtMs);
}

interface GeneratedManifest {
  readonly repositoryId: RepositoryId;
  readonly name: string;
  readonly names?: readonly Digest[];
  readonly images?: readonly { readonly digest: Digest; readonly platform: string | undefined }[];
  readonly bytes: number;
  readonly usedAtMs: number;
}

function recordManifest(
  index: FilledIndex,
  { repositoryId, name, bytes, usedAtMs, ...more }: GeneratedManifest,
): Digest {
  const { images = [], names = images.map((image) => image.digest) } = more;
  const digest = digestOf(Buffer.from(name));
  const mediaType = images.length > 0 ? ociIndex : ociManifest;
  index.recordContent({ digest, size: 2_000, isManifest: true, names, usedAtMs, image: { mediaType, bytes, images } });
  index.recordLink({ repositoryId, kind: 'manifest', digest, mediaType, size: 2_000 });
  return digest;
}

/** The first images are those of the repository of nightly builds. */
function repositoryOf(image: number, { repositories, tags }: StoreCounts): RepositoryId {
  const nightly = Math.floor(tags * nightlyShare);
  const number = image < nightly ? 0 : 1 + ((image - nightly) % Math.max(1, repositories - 1));
  const upstream = registries[Math.floor(number * 0.618_034 * registries.length) % registries.length] ?? 'docker.io';
  return { upstream, repository: parseRepository(`team-${number % 211}/application-${number}`) };
}

function tagOf(image: number, { tags }: StoreCounts): string {
  const nightly = Math.floor(tags * nightlyShare);
  return image < nightly ? `nightly-${image}` : `v${Math.floor(image / 1_000)}.${image % 1_000}-Build`;
}

function blobsBefore(image: number, { blobs, tags }: StoreCounts): number {
  return Math.floor((image / tags) * blobs);
}

function range(from: number, to: number): readonly number[] {
  return Array.from({ length: to - from }, (_, place) => from + place);
}
