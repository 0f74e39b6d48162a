import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Image } from '../images.ts';
import { freePort, startServer } from '../server-process.ts';
import type { Contender, Site } from './contender.ts';

/** Koa with a single middleware, in a process of its own: what the framework leaves to whoever builds on it. */
export async function startKoa(site: Site, image: Image): Promise<Contender> {
  const port = await freePort();
  await mkdir(site.folder, { recursive: true });
  const manifestFile = join(site.folder, 'manifest.json');
  await writeFile(manifestFile, image.manifest.bytes);
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer(
    {
      program: process.execPath,
      args: [join(import.meta.dirname, 'koa-app.ts'), String(port), manifestFile, image.manifest.digest],
      // Koa builds as in production: no stack traces of its own on stderr.
      env: { PATH: site.searchPath, NODE_ENV: 'production' },
      logFile: join(site.folder, 'log'),
      readyUrl: url,
    },
    site.signal,
  );
  return { ...server, name: 'bare Koa', url };
}
