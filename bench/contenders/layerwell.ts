import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CertificateFiles } from '../../test/support/certificate-files.ts';
import { freePort, startServer } from '../server-process.ts';
import type { Contender, Site } from './contender.ts';

/**
 * Layerwell with its default configuration, except for ports, store and upstream.
 * @param options.nodeFlags such as `--cpu-prof`.
 * @param options.config sections that replace those of the configuration.
 * @param options.env added to its environment.
 * @param options.tls it serves HTTPS with these.
 */
export async function startLayerwell(
  site: Site,
  upstreamUrl: string,
  options: {
    readonly nodeFlags?: readonly string[];
    readonly config?: object;
    readonly env?: Readonly<Record<string, string>>;
    readonly tls?: CertificateFiles;
  } = {},
): Promise<Contender> {
  const [port, managementPort] = [await freePort(), await freePort()];
  await mkdir(site.folder, { recursive: true });
  const configFile = join(site.folder, 'mirror.config.json');
  await writeFile(
    configFile,
    configOf({ port, managementPort, folder: site.folder, upstreamUrl, tls: options.tls }, options.config ?? {}),
  );
  const program = join(import.meta.dirname, '../..', site.program);
  const server = await startServer(
    {
      program: process.execPath,
      pinnedBy: site.pinnedBy,
      args: [...(options.nodeFlags ?? []), program, 'serve', '--config', configFile],
      env: { PATH: site.searchPath, NODE_ENV: 'production', ...options.env },
      logFile: join(site.folder, 'log'),
      readyUrl: `http://127.0.0.1:${managementPort}/readyz`,
    },
    site.signal,
  );
  return { ...server, name: 'Layerwell', url: `${options.tls ? 'https' : 'http'}://127.0.0.1:${port}` };
}

function configOf(
  values: {
    port: number;
    managementPort: number;
    folder: string;
    upstreamUrl: string;
    tls: CertificateFiles | undefined;
  },
  more: { readonly storage?: object },
): string {
  return JSON.stringify({
    ...more,
    listen: { host: '127.0.0.1', port: values.port, ...(values.tls && { tls: values.tls }) },
    management: { host: '127.0.0.1', port: values.managementPort },
    storage: { ...more.storage, driver: 'filesystem', path: join(values.folder, 'store') },
    index: { driver: 'sqlite', path: join(values.folder, 'index.sqlite') },
    defaultUpstream: 'upstream.test',
    upstreams: { 'upstream.test': { url: values.upstreamUrl } },
  });
}
