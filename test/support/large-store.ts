import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { digestOf } from '../../src/oci/digest.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../../src/oci/reference.ts';
import { blobPath, recordPath } from '../../src/storage/layout.ts';

export interface LargeStore {
  readonly images: number;
  /** Of each image. No other image has them. */
  readonly layers: number;
  readonly repositories: number;
}

/** Images with their links, each with a tag, written without caring for durability. */
export function writeLargeStore(path: string, { images, layers: layerCount, repositories }: LargeStore): void {
  const folders = new Set<string>();
  const write = (file: string, bytes: string | Uint8Array): void => {
    const folder = dirname(join(path, file));
    if (!folders.has(folder)) mkdirSync(folder, { recursive: true });
    folders.add(folder);
    writeFileSync(join(path, file), bytes);
  };
  for (let number = 0; number < images; number += 1) {
    const repositoryId = { upstream: 'docker.io', repository: parseRepository(`app/${number % repositories}`) };
    const blobs = Array.from({ length: layerCount }, (_, layer) => Buffer.from(`layer ${layer} of image ${number}`));
    const layers = blobs.map((bytes) => ({ mediaType: 'x', digest: digestOf(bytes), size: bytes.byteLength }));
    const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, layers }));
    const digest = digestOf(manifest);
    const record = { mediaType: ociManifest, size: manifest.byteLength, firstServedAtMs: 1 };
    for (const bytes of [manifest, ...blobs]) write(blobPath(digestOf(bytes)), bytes);
    write(recordPath({ kind: 'manifest', repositoryId, digest }), JSON.stringify(record));
    for (const layer of layers) {
      const link = recordPath({ kind: 'blob', repositoryId, digest: layer.digest });
      write(link, JSON.stringify({ size: layer.size, firstServedAtMs: 1 }));
    }
    const tag = JSON.stringify({ ...record, digest, confirmedAtMs: 1 });
    write(recordPath({ kind: 'tag', repositoryId, tag: parseTag(`v${number}`) }), tag);
  }
}
