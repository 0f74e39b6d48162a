/**
 * A minimal Koa app: one middleware that answers every request with the same manifest.
 *   node koa-app.ts <port> <manifest file> <digest>
 */
import { readFile } from 'node:fs/promises';
import Koa from 'koa';
import { ociManifest } from '../../src/oci/media-types.ts';

const [port = '', manifestFile = '', digest = ''] = process.argv.slice(2);
const manifest = await readFile(manifestFile);
const app = new Koa();
app.use((context) => {
  context.type = ociManifest;
  context.set('Docker-Content-Digest', digest);
  context.body = manifest;
});
app.listen(Number(port), '127.0.0.1');
