/**
 * A registry in a pod of the cluster, from the mirror's own image: every tag of every repository exists, and its content follows from its
 * name, so that nothing is stored. Needs nothing but Node.
 */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { gzipSync } from 'node:zlib';

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const layerSize = 64 * 1024;
const blockSize = 512;

interface Made {
  readonly digest: string;
  readonly bytes: Buffer;
}

function made(bytes: Buffer): Made {
  return { digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, bytes };
}

/** Bytes that do not compress, always the same for a name. */
function bytesOf(name: string): Buffer {
  const parts: Buffer[] = [];
  for (let nth = 0; nth * 32 < layerSize; nth++) parts.push(createHash('sha256').update(`${name} ${nth}`).digest());
  return Buffer.concat(parts);
}

/** A tar archive with one file. */
function tarOf(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(blockSize);
  header.write(name);
  header.write('0000644\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write('0ustar\u000000', 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc(-content.length & (blockSize - 1)), Buffer.alloc(2 * blockSize)]);
}

/** The image of a tag: two layers, the configuration and the manifest. */
function imageOf(name: string): { readonly manifest: Made; readonly blobs: readonly Made[] } {
  const archives = ['one', 'two'].map((file) => tarOf(file, bytesOf(`${name} ${file}`)));
  const layers = archives.map((archive) => made(gzipSync(archive)));
  const config = made(
    Buffer.from(
      JSON.stringify({
        architecture: process.arch === 'x64' ? 'amd64' : process.arch,
        os: 'linux',
        config: { User: '65532', Entrypoint: ['/one'] },
        rootfs: { type: 'layers', diff_ids: archives.map((archive) => made(archive).digest) },
      }),
    ),
  );
  const descriptor = ({ digest, bytes }: Made, mediaType: string) => ({ mediaType, digest, size: bytes.length });
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: descriptor(config, 'application/vnd.oci.image.config.v1+json'),
    layers: layers.map((layer) => descriptor(layer, 'application/vnd.oci.image.layer.v1.tar+gzip')),
  };
  return { manifest: made(Buffer.from(JSON.stringify(manifest))), blobs: [config, ...layers] };
}

/** The name of the image that a digest belongs to, of all that were asked by tag or are known from the start. */
const nameOf = new Map<string, string>();
const remembered = 100_000;

function imageNamed(name: string): ReturnType<typeof imageOf> {
  const image = imageOf(name);
  for (const { digest } of [image.manifest, ...image.blobs]) nameOf.set(digest, name);
  while (nameOf.size > remembered) nameOf.delete(nameOf.keys().next().value ?? '');
  return image;
}

function found(path: string): (Made & { readonly type: string }) | undefined {
  const [, repository, kind, reference] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(path) ?? [];
  if (repository === undefined || reference === undefined) return undefined;
  const isDigest = reference.startsWith('sha256:');
  const name = isDigest ? nameOf.get(reference) : `${repository}:${reference}`;
  if (name === undefined) return undefined;
  const { manifest, blobs } = imageNamed(name);
  if (kind === 'manifests') return { ...manifest, type: manifestType };
  const blob = blobs.find(({ digest }) => digest === reference);
  return blob && { ...blob, type: 'application/octet-stream' };
}

const requests = { total: 0, blobs: 0 };

createServer((request, response) => {
  const path = new URL(request.url ?? '/', 'http://upstream').pathname;
  if (path === '/requests') return void response.end(JSON.stringify(requests));
  if (path === '/v2/') return void response.end('{}');
  requests.total += 1;
  if (path.includes('/blobs/')) requests.blobs += 1;
  const content = found(path);
  if (!content) return void response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
  response.writeHead(200, {
    'content-type': content.type,
    'content-length': content.bytes.length,
    'docker-content-digest': content.digest,
  });
  response.end(request.method === 'HEAD' ? undefined : content.bytes);
}).listen(5000, () => process.stdout.write('listening\n'));
process.on('SIGTERM', () => process.exit());
