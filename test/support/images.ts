import { createCipheriv, createHash } from 'node:crypto';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type Digest, type DigestAlgorithm, digestOf } from '../../src/oci/digest.ts';
import { dockerManifest, ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { tar } from './tar.ts';

/** Bytes with their name and their type: a blob or a manifest. */
export interface Content {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** What a registry needs to serve one image or artifact. */
export interface Image {
  /** What its tag points to. */
  readonly manifest: Content;
  /** Manifests below it, in the order in which a registry takes them. */
  readonly children: readonly Content[];
  readonly blobs: readonly Content[];
}

/** An artifact with a subject. */
export interface Referrer extends Image {
  readonly subject: Digest;
  readonly artifactType: string;
}

export function content(mediaType: string, bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Content {
  return { digest: digestOf(bytes, algorithm), mediaType, bytes: Buffer.from(bytes) };
}

export function descriptorOf({ mediaType, digest, bytes }: Content): {
  mediaType: string;
  digest: Digest;
  size: number;
} {
  return { mediaType, digest, size: bytes.length };
}

export interface ImageOptions {
  /** Distinguishes otherwise equal images. */
  readonly name?: string;
  readonly architecture?: 'amd64' | 'arm64';
  readonly compression?: 'gzip' | 'zstd';
  /** Of the layer's digest. */
  readonly algorithm?: DigestAlgorithm;
  readonly layers?: number;
  readonly format?: 'oci' | 'docker';
  /** Incompressible bytes in each layer. */
  readonly layerBytes?: number;
}

/** An image of one platform that a container engine can unpack: each layer is a tar with a file or two. */
export function image(options: ImageOptions = {}): Image {
  const { name = 'image', architecture = 'amd64', layers = 1, format = 'oci' } = options;
  const unpacked = Array.from({ length: layers }, (_, index) =>
    layerTar(name, architecture, index, options.layerBytes),
  );
  const packed = unpacked.map((archive) => packedLayer(archive, options));
  const config = content(
    format === 'oci' ? 'application/vnd.oci.image.config.v1+json' : 'application/vnd.docker.container.image.v1+json',
    json({
      architecture,
      os: 'linux',
      config: { Labels: { name } },
      rootfs: { type: 'layers', diff_ids: unpacked.map((archive) => digestOf(archive)) },
    }),
  );
  const mediaType = format === 'oci' ? ociManifest : dockerManifest;
  return { manifest: manifestOf({ mediaType, config, layers: packed }), children: [], blobs: [config, ...packed] };
}

/** An image index over linux/amd64 and linux/arm64. */
export function multiPlatformImage(name = 'multi'): Image {
  const platforms = (['amd64', 'arm64'] as const).map((architecture) => ({
    architecture,
    built: image({ name, architecture }),
  }));
  const index = json({
    schemaVersion: 2,
    mediaType: ociIndex,
    manifests: platforms.map(({ architecture, built }) => ({
      ...descriptorOf(built.manifest),
      platform: { os: 'linux', architecture },
    })),
  });
  return {
    manifest: content(ociIndex, index),
    children: platforms.map(({ built }) => built.manifest),
    blobs: platforms.flatMap(({ built }) => built.blobs),
  };
}

/** OCI image-spec, "Guidelines for Artifact Usage": one layer of the artifact's own type, an empty config. */
export function artifact({ type = 'application/vnd.example.document', text = 'hello' } = {}): Image {
  return artifactOf(type, content(type, Buffer.from(text)));
}

/** An artifact whose only layer has no bytes at all. */
export function emptyBlobArtifact(): Image {
  return artifactOf('application/vnd.example.nothing', content('application/vnd.example.nothing', Buffer.alloc(0)));
}

/** An artifact that is attached to `subject`, as a signature or a list of parts would be. */
export function referrerOf(
  subject: Content,
  { artifactType = 'application/vnd.example.signature', text = 'signed' } = {},
): Referrer {
  return {
    ...artifactOf(artifactType, content(artifactType, Buffer.from(text)), subject),
    subject: subject.digest,
    artifactType,
  };
}

/** An image of one layer of that many incompressible MiB. */
export function bigImage(mebibytes: number, name = 'big'): Image {
  return image({ name, layerBytes: mebibytes * 1024 * 1024 });
}

/** The same `seed` gives the same bytes, and no compressor makes them smaller. */
export function randomBytes(size: number, seed: string): Buffer {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(size));
}

/** A blob of incompressible bytes. */
export function randomBlob(size: number, seed = 'blob', algorithm: DigestAlgorithm = 'sha256'): Content {
  return content('application/octet-stream', randomBytes(size, seed), algorithm);
}

const emptyConfig = 'application/vnd.oci.empty.v1+json';

function artifactOf(artifactType: string, layer: Content, subject?: Content): Image {
  const config = content(emptyConfig, Buffer.from('{}'));
  const manifest = manifestOf({
    mediaType: ociManifest,
    artifactType,
    config,
    layers: [layer],
    ...(subject && { subject }),
  });
  return { manifest, children: [], blobs: [config, layer] };
}

function manifestOf(parts: {
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly config: Content;
  readonly layers: readonly Content[];
  readonly subject?: Content;
}): Content {
  const { mediaType, artifactType, config, layers, subject } = parts;
  const written = {
    schemaVersion: 2,
    mediaType,
    ...(artifactType !== undefined && { artifactType }),
    config: descriptorOf(config),
    layers: layers.map(descriptorOf),
    ...(subject && { subject: descriptorOf(subject) }),
  };
  return content(mediaType, json(written));
}

function layerTar(name: string, architecture: string, index: number, layerBytes = 0): Buffer {
  return tar({
    [`etc/layer-${index}`]: `${name} for ${architecture}\n`,
    ...(layerBytes > 0 && { [`opt/bytes-${index}`]: randomBytes(layerBytes, `${name} ${index}`) }),
  });
}

function packedLayer(
  archive: Buffer,
  { compression = 'gzip', format = 'oci', algorithm = 'sha256' }: ImageOptions,
): Content {
  const type =
    format === 'oci'
      ? `application/vnd.oci.image.layer.v1.tar+${compression}`
      : `application/vnd.docker.image.rootfs.diff.tar.${compression}`;
  return content(type, compression === 'zstd' ? zstdCompressSync(archive) : gzipSync(archive, { level: 1 }), algorithm);
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}
