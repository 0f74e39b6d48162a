import { createCipheriv, createHash } from 'node:crypto';
import { mkdir, open, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Digest, digestFrom, digestOf, hexOf } from '../src/oci/digest.ts';
import type { Descriptor } from '../src/oci/manifest.ts';
import { ociManifest } from '../src/oci/media-types.ts';

/** An image in the upstream: a few small layers, as in most images, and one large layer that the clients pull. */
export interface Image {
  readonly repository: string;
  readonly tag: string;
  readonly manifest: { readonly digest: Digest; readonly bytes: Uint8Array };
  readonly layer: { readonly digest: Digest; readonly size: number };
  /** A blob of 4 KiB. */
  readonly small: { readonly digest: Digest; readonly size: number };
}

export const layerBytes = 256 * 1024 * 1024;
const repository = 'bench/image';
const smallLayers = 6;
const chunkBytes = 1024 * 1024;
const layerMediaType = 'application/vnd.oci.image.layer.v1.tar';

/**
 * Writes an image directly into the upstream's folder, under a tag named after the seed. The same seed produces the same bytes; a new
 * seed produces a layer that no cache holds.
 */
export async function putImage(upstreamFolder: string, seed: string): Promise<Image> {
  const place = placeOf(upstreamFolder, repository);
  const small = await putSmallLayers(place, seed, smallLayers);
  const layer = await putLarge(place, seed);
  const small4k = await putSmall(place, layerMediaType, `${seed}, 4 KiB`.padEnd(4096));
  const manifest = await putManifest(place, seed, [...small, small4k, layer]);
  return { repository, tag: seed, manifest, layer, small: small4k };
}

/** An image of one small layer: what a pull of it costs is what its requests cost. */
export async function putSmallImage(upstreamFolder: string, seed: string): Promise<Image> {
  const place = placeOf(upstreamFolder, repository);
  const [layer] = await putSmallLayers(place, seed, 1);
  if (!layer) throw new Error('there is no layer');
  return { repository, tag: seed, manifest: await putManifest(place, seed, [layer]), layer, small: layer };
}

async function putSmallLayers(place: Place, seed: string, count: number): Promise<readonly Descriptor[]> {
  const layers: Descriptor[] = [];
  for (let i = 0; i < count; i++) layers.push(await putSmall(place, layerMediaType, `${seed}, layer ${i}`));
  return layers;
}

async function putManifest(place: Place, seed: string, layers: readonly Descriptor[]): Promise<Image['manifest']> {
  const config = await putSmall(place, 'application/vnd.oci.image.config.v1+json', `{"seed":"${seed}"}`);
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociManifest, config, layers }, undefined, 2));
  const digest = digestOf(bytes);
  await place.content(digest, bytes);
  await place.link(`_manifests/revisions/sha256/${hexOf(digest)}`, digest);
  await place.link(`_manifests/tags/${seed}/index/sha256/${hexOf(digest)}`, digest);
  await place.link(`_manifests/tags/${seed}/current`, digest);
  return { digest, bytes };
}

/** Where distribution's filesystem driver stores a blob; see its registry/storage/paths.go. */
export function blobFile(upstreamFolder: string, digest: Digest): string {
  const hex = hexOf(digest);
  return join(upstreamFolder, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');
}

interface Place {
  readonly folder: string;
  content(digest: Digest, bytes: Uint8Array): Promise<void>;
  link(folder: string, digest: Digest): Promise<void>;
}

function placeOf(upstreamFolder: string, repository: string): Place {
  const write = async (path: string, content: string | Uint8Array) => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  };
  const repositoryFolder = join(upstreamFolder, 'docker/registry/v2/repositories', repository);
  return {
    folder: upstreamFolder,
    content: (digest, bytes) => write(blobFile(upstreamFolder, digest), bytes),
    link: (folder, digest) => write(join(repositoryFolder, folder, 'link'), digest),
  };
}

async function putSmall(place: Place, mediaType: string, text: string): Promise<Descriptor> {
  const bytes = Buffer.from(text);
  const digest = digestOf(bytes);
  await place.content(digest, bytes);
  await place.link(`_layers/sha256/${hexOf(digest)}`, digest);
  return { mediaType, digest, size: bytes.length };
}

async function putLarge(place: Place, seed: string): Promise<Descriptor> {
  const unnamed = join(place.folder, `${seed}.tmp`);
  const digest = await writeNoise(unnamed, seed);
  const named = blobFile(place.folder, digest);
  await mkdir(dirname(named), { recursive: true });
  await rename(unnamed, named);
  await place.link(`_layers/sha256/${hexOf(digest)}`, digest);
  return { mediaType: layerMediaType, digest, size: layerBytes };
}

/** Fills a file with incompressible bytes: the key stream of AES in counter mode. */
async function writeNoise(path: string, seed: string): Promise<Digest> {
  const key = createHash('sha256').update(seed).digest().subarray(0, 16);
  const noise = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  const hash = createHash('sha256');
  const zeros = Buffer.alloc(chunkBytes);
  await using file = await open(path, 'w');
  for (let written = 0; written < layerBytes; written += chunkBytes) {
    const chunk = noise.update(zeros);
    hash.update(chunk);
    await file.writeFile(chunk);
  }
  return digestFrom(hash, 'sha256');
}
