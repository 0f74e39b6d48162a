import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { RepositoryId } from '../../src/mirror/ports/repository-id.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { parseRepository, parseTag, type Tag } from '../../src/oci/reference.ts';
import { blobPath, recordPath } from '../../src/storage/layout.ts';

export interface LargeStore {
  readonly images: number;
  /** Of each image. No other image has them. */
  readonly layers: number;
  readonly repositories: number;
}

export interface StoredBytes {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}

/** An image of a {@link LargeStore}. */
export interface StoredImage {
  readonly repositoryId: RepositoryId;
  readonly tag: Tag;
  readonly manifest: StoredBytes;
  readonly layers: readonly StoredBytes[];
}

/** The same number gives the same image, however many others the store has. */
export function storedImage(
  number: number,
  { layers: layerCount, repositories }: Omit<LargeStore, 'images'>,
): StoredImage {
  const layers = Array.from({ length: layerCount }, (_, layer) => withDigest(`layer ${layer} of image ${number}`));
  const named = layers.map(({ digest, bytes }) => ({ mediaType: 'x', digest, size: bytes.byteLength }));
  return {
    repositoryId: { upstream: 'docker.io', repository: parseRepository(`app/${number % repositories}`) },
    tag: parseTag(`v${number}`),
    manifest: withDigest(JSON.stringify({ schemaVersion: 2, layers: named })),
    layers,
  };
}

/** Images with their links, each with a tag, written without caring for durability. */
export function writeLargeStore(path: string, store: LargeStore, write: FileWriter = fileWriter(path)): void {
  for (let number = 0; number < store.images; number += 1) writeImage(write, storedImage(number, store));
}

function writeImage(write: FileWriter, { repositoryId, tag, manifest, layers }: StoredImage): void {
  const { digest } = manifest;
  const record = { mediaType: ociManifest, size: manifest.bytes.byteLength, firstServedAtMs: 1 };
  for (const content of [manifest, ...layers]) write(blobPath(content.digest), content.bytes);
  write(recordPath({ kind: 'manifest', repositoryId, digest }), JSON.stringify(record));
  for (const layer of layers) {
    const link = recordPath({ kind: 'blob', repositoryId, digest: layer.digest });
    write(link, JSON.stringify({ size: layer.bytes.byteLength, firstServedAtMs: 1 }));
  }
  write(recordPath({ kind: 'tag', repositoryId, tag }), JSON.stringify({ ...record, digest, confirmedAtMs: 1 }));
}

/** Writes a file of a store. */
export type FileWriter = (file: string, bytes: string | Uint8Array) => void;

/** Files below a folder. Each folder is created once. */
export function fileWriter(path: string): FileWriter {
  const folders = new Set<string>();
  return (file, bytes) => {
    const folder = dirname(join(path, file));
    if (!folders.has(folder)) mkdirSync(folder, { recursive: true });
    folders.add(folder);
    writeFileSync(join(path, file), bytes);
  };
}

function withDigest(text: string): StoredBytes {
  const bytes = Buffer.from(text);
  return { digest: digestOf(bytes), bytes };
}
