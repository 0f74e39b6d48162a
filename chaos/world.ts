import type { Digest } from '../src/oci/digest.ts';
import { ociManifest } from '../src/oci/media-types.ts';
import { type Content, content, descriptorOf, type Image, image, randomBytes } from '../test/support/images.ts';
import { Dice } from './dice.ts';

/** An image and the repository to pull it from. */
export interface PublishedImage {
  readonly upstream: UpstreamName;
  readonly repository: string;
  readonly tag: string;
  /**
   * `pinned`: cached before the first fault and never evicted. `doomed`: the same, but its files are damaged. `real`: a valid image that
   * real clients can unpack. `large`: larger than the socket buffers between two processes. `ordinary`: pulled and evicted. `healthy`: on
   * the registry that never fails.
   */
  readonly kind: 'ordinary' | 'pinned' | 'doomed' | 'real' | 'large' | 'healthy';
  readonly image: Image;
}

/** The registries that fail, stall and send wrong data. */
const faultyNames = ['docker.io', 'ghcr.io', 'quay.io'] as const;
/** The registry that never fails. Its clients must not notice the faults of the others. */
export const healthyName = 'healthy.test';
export const upstreamNames = [...faultyNames, healthyName] as const;
export type UpstreamName = (typeof upstreamNames)[number];

/** The tag that moves between the images of its repository. */
export const movingTag = 'latest';
/** More than the store can hold, so that most pulls of them are cold. */
const healthyImages = 160;
const repositoriesPerUpstream = 20;
const tagsPerRepository = 3;
const baseLayersPerUpstream = 5;
const specialLayers = [90 * 1024, 700 * 1024];
const layerType = 'application/vnd.oci.image.layer.v1.tar';

/** All images. The same seed produces the same bytes in every process. */
export function worldOf(seed: string): readonly PublishedImage[] {
  return [
    ...faultyNames.flatMap((upstream) => ordinaryImages(upstream, new Dice(seed).of(upstream))),
    ...Array.from({ length: healthyImages }, (_, index) => healthyImage(seed, index)),
    ...['pinned-0', 'pinned-1', 'pinned-2', 'pinned-3'].map((name) =>
      specialImage(seed, name, 'pinned', specialLayers),
    ),
    ...['doomed-0', 'doomed-1'].map((name) => specialImage(seed, name, 'doomed', specialLayers)),
    specialImage(seed, 'large-0', 'large', [20 * 1024 * 1024]),
    ...['real-0', 'real-1', 'real-2'].map((name) => realImage(seed, name)),
  ];
}

/** Every digest that a tag may resolve to: that of its own image, or for the moving tag, of any image in its repository. */
export function digestsOf(
  world: readonly PublishedImage[],
  pulled: Pick<PublishedImage, 'upstream' | 'repository' | 'tag'>,
) {
  const inRepository = world.filter(
    ({ upstream, repository }) => upstream === pulled.upstream && repository === pulled.repository,
  );
  const meant = inRepository.filter(({ tag }) => pulled.tag === movingTag || tag === pulled.tag);
  return new Map<Digest, PublishedImage>(meant.map((published) => [published.image.manifest.digest, published]));
}

function ordinaryImages(upstream: UpstreamName, dice: Dice): readonly PublishedImage[] {
  const bases = Array.from({ length: baseLayersPerUpstream }, (_, index) =>
    layer(`${upstream} base ${index}`, Math.round(dice.between(32, 512) * 1024)),
  );
  return Array.from({ length: repositoriesPerUpstream * tagsPerRepository }, (_, index) => {
    const repository = `team/app-${Math.floor(index / tagsPerRepository)}`;
    const own = Array.from({ length: 1 + dice.below(3) }, (__, at) =>
      layer(`${upstream} ${index} layer ${at}`, layerBytes(dice)),
    );
    const made = imageOf(`${upstream} ${index}`, [dice.pick(bases), ...own]);
    return { upstream, repository, tag: `v${index % tagsPerRepository}`, kind: 'ordinary', image: made };
  });
}

function healthyImage(seed: string, index: number): PublishedImage {
  const layers = [layer(`${seed} healthy ${index} small`, 40_000), layer(`${seed} healthy ${index}`, 600_000)];
  const repository = `healthy/app-${index}`;
  return { upstream: healthyName, repository, tag: 'v0', kind: 'healthy', image: imageOf(repository, layers) };
}

function specialImage(
  seed: string,
  name: string,
  kind: PublishedImage['kind'],
  layerSizes: readonly number[],
): PublishedImage {
  const layers = layerSizes.map((size, index) => layer(`${seed} ${name} ${index}`, size));
  return { upstream: 'docker.io', repository: `library/${name}`, tag: 'v0', kind, image: imageOf(name, layers) };
}

function realImage(seed: string, name: string): PublishedImage {
  const made = image({ name: `${seed} ${name}`, layers: 2, layerBytes: 150_000 });
  return { upstream: 'docker.io', repository: `library/${name}`, tag: 'v0', kind: 'real', image: made };
}

/** Most layers are small. A few are large enough that a fault in the middle of them is likely. */
function layerBytes(dice: Dice): number {
  const chance = dice.next();
  if (chance < 0.7) return Math.round(dice.between(1, 64) * 1024);
  return Math.round((chance < 0.95 ? dice.between(64, 512) : dice.between(1024, 3072)) * 1024);
}

function layer(name: string, size: number): Content {
  return content(layerType, randomBytes(size, name));
}

function imageOf(name: string, layers: readonly Content[]): Image {
  const config = content('application/vnd.oci.image.config.v1+json', Buffer.from(JSON.stringify({ name })));
  const manifest = {
    schemaVersion: 2,
    mediaType: ociManifest,
    config: descriptorOf(config),
    layers: layers.map(descriptorOf),
  };
  return {
    manifest: content(ociManifest, Buffer.from(JSON.stringify(manifest))),
    children: [],
    blobs: [config, ...layers],
  };
}
