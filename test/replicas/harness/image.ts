import { ociManifest } from '../../../src/oci/media-types.ts';
import { type Content, content, descriptorOf, type Image, randomBlob } from '../../support/images.ts';

/** An image of one incompressible layer. */
export interface LayerImage extends Image {
  readonly layer: Content;
}

export function imageOf(mebibytes: number, name: string): LayerImage {
  const config = content('application/vnd.oci.image.config.v1+json', Buffer.from(JSON.stringify({ name })));
  const layer = randomBlob(mebibytes * 1024 * 1024, name);
  const manifest = {
    schemaVersion: 2,
    mediaType: ociManifest,
    config: descriptorOf(config),
    layers: [{ ...descriptorOf(layer), mediaType: 'application/vnd.oci.image.layer.v1.tar' }],
  };
  const written = content(ociManifest, Buffer.from(JSON.stringify(manifest)));
  return { manifest: written, children: [], blobs: [config, layer], layer };
}
