import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort, startServer } from '../server-process.ts';
import type { Contender, Site } from './contender.ts';

/** zot with its sync extension on demand, as its documentation configures a mirror of one registry. */
export async function startZot(site: Site, program: string, upstreamUrl: string): Promise<Contender> {
  const port = await freePort();
  await mkdir(site.folder, { recursive: true });
  const configFile = join(site.folder, 'config.json');
  await writeFile(configFile, configOf({ port, store: join(site.folder, 'store'), upstreamUrl }));
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer(
    {
      program,
      pinnedBy: site.pinnedBy,
      args: ['serve', configFile],
      env: { PATH: site.searchPath, HOME: site.folder },
      logFile: join(site.folder, 'log'),
      readyUrl: `${url}/v2/`,
    },
    site.signal,
  );
  return { ...server, name: 'zot', url, copiesWholeImages: true };
}

function configOf(values: { port: number; store: string; upstreamUrl: string }): string {
  const registry = { urls: [values.upstreamUrl], onDemand: true, tlsVerify: false, preserveDigest: true };
  return JSON.stringify({
    distSpecVersion: '1.1.1',
    storage: { rootDirectory: values.store },
    http: { address: '127.0.0.1', port: String(values.port), compat: ['docker2s2'] },
    log: { level: 'info' },
    extensions: { sync: { enable: true, registries: [registry] } },
  });
}
