/**
 * A minimal Koa app: one middleware that answers every request with the same manifest, or the same small blob.
 *   node koa-app.ts <port> <manifest file> <digest> <blob file>
 */
import { readFile } from 'node:fs/promises';
import Koa from 'koa';
import { ociManifest } from '../../src/oci/media-types.ts';

const [port = '', manifestFile = '', digest = '', smallFile = ''] = process.argv.slice(2);
const manifest = await readFile(manifestFile);
const small = await readFile(smallFile);
const app = new Koa();
app.use((context) => {
  const isBlob = context.path.includes('/blobs/');
  context.type = isBlob ? 'application/octet-stream' : ociManifest;
  context.set('Docker-Content-Digest', digest);
  context.body = isBlob ? small : manifest;
});
app.listen(Number(port), '127.0.0.1');
