import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../src/oci/digest.ts';
import { freePort, startServer } from '../server-process.ts';
import type { Registry } from '../tools.ts';
import type { Contender, ContenderName, Site } from './contender.ts';

/** The registry that everything is pulled from. */
export interface Upstream extends Contender {
  /** The folder of its images. */
  readonly folder: string;
  /** How often a blob was sent, from the access log. A line is written when a response ends. */
  blobGets(digest: Digest): Promise<number>;
}

export async function startUpstream(site: Site): Promise<Upstream> {
  const folder = join(site.folder, 'store');
  const logFile = join(site.folder, 'log');
  const started = await startRegistry(site, { name: 'upstream', registry: site.tools.upstreamRegistry });
  return {
    ...started,
    folder,
    blobGets: async (digest) => {
      const log = await readFile(logFile, 'utf8');
      return log.split('\n').filter((line) => line.includes('"GET /v2/') && line.includes(`/blobs/${digest} HTTP/1.1"`))
        .length;
    },
  };
}

/** The reference implementation as a pull-through cache. Its upstream must be running: it is contacted at start. */
export async function startProxy(site: Site, upstreamUrl: string): Promise<Contender> {
  return startRegistry(site, { name: 'distribution proxy', registry: site.tools.proxyRegistry, upstreamUrl });
}

async function startRegistry(
  { folder, searchPath, pinnedBy, signal }: Site,
  { name, registry, upstreamUrl }: { name: ContenderName; registry: Registry; upstreamUrl?: string },
): Promise<Contender> {
  const port = await freePort();
  const store = join(folder, 'store');
  await mkdir(store, { recursive: true });
  const configFile = join(folder, 'config.yml');
  await writeFile(configFile, configOf({ port, store, upstreamUrl }));
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer(
    {
      program: registry.path,
      pinnedBy,
      args: ['serve', configFile],
      // Version 3 sends traces to localhost:4318 unless told not to.
      env: { PATH: searchPath, OTEL_TRACES_EXPORTER: 'none' },
      logFile: join(folder, 'log'),
      readyUrl: `${url}/v2/`,
    },
    signal,
  );
  return { ...server, name, url };
}

/** The mirror configuration of its documentation: cached blob descriptors, default logs. */
function configOf(values: { port: number; store: string; upstreamUrl: string | undefined }): string {
  const lines = [
    'version: 0.1',
    'storage:',
    '  cache: { blobdescriptor: inmemory }',
    `  filesystem: { rootdirectory: ${JSON.stringify(values.store)} }`,
    `http: { addr: "127.0.0.1:${values.port}" }`,
  ];
  if (values.upstreamUrl !== undefined) lines.push(`proxy: { remoteurl: ${JSON.stringify(values.upstreamUrl)} }`);
  return `${lines.join('\n')}\n`;
}
