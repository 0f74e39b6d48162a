import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { blobFile, type Image } from '../images.ts';
import { freePort, startServer } from '../server-process.ts';
import type { Contender, Site } from './contender.ts';

/** Koa with a single middleware, in its own process: the upper limit for an application on Koa. */
export async function startKoa(site: Site, upstreamFolder: string, image: Image): Promise<Contender> {
  const port = await freePort();
  await mkdir(site.folder, { recursive: true });
  const manifestFile = join(site.folder, 'manifest.json');
  await writeFile(manifestFile, image.manifest.bytes);
  const smallFile = blobFile(upstreamFolder, image.small.digest);
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer(
    {
      program: process.execPath,
      pinnedBy: site.pinnedBy,
      args: [join(import.meta.dirname, 'koa-app.ts'), String(port), manifestFile, image.manifest.digest, smallFile],
      // As in production: Koa prints no stack traces to stderr.
      env: { PATH: site.searchPath, NODE_ENV: 'production' },
      logFile: join(site.folder, 'log'),
      readyUrl: url,
    },
    site.signal,
  );
  return { ...server, name: 'bare Koa', url };
}
