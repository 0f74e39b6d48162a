import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { blobFile, type Image } from '../images.ts';
import { freePort, startServer } from '../server-process.ts';
import type { Contender, Site } from './contender.ts';

/** nginx with sendfile, serving the upstream's file of one blob: the fastest that this machine can send a file. */
export async function startNginx(site: Site, upstreamFolder: string, image: Image): Promise<Contender> {
  const port = await freePort();
  await mkdir(site.folder, { recursive: true });
  const configFile = join(site.folder, 'nginx.conf');
  const path = `/v2/${image.repository}/blobs/${image.layer.digest}`;
  const file = blobFile(upstreamFolder, image.layer.digest);
  await writeFile(configFile, configOf({ port, path, file, folder: site.folder }));
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer(
    {
      program: site.tools.nginx,
      args: ['-p', site.folder, '-c', configFile],
      env: { PATH: site.searchPath },
      logFile: join(site.folder, 'log'),
      readyUrl: `${url}/ready`,
    },
    site.signal,
  );
  return { ...server, name: 'nginx', url };
}

function configOf(values: { port: number; path: string; file: string; folder: string }): string {
  // If started as root, the workers would run as nobody, who cannot read the work directory.
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `daemon off; worker_processes auto; ${user}
pid ${values.folder}/nginx.pid;
error_log stderr;
events {}
http {
  ${kinds.map((kind) => `${kind}_temp_path ${values.folder}/${kind};`).join(' ')}
  access_log off; sendfile on; tcp_nopush on;
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:${values.port};
    location = /ready { return 200; }
    location = ${values.path} { alias ${values.file}; }
  }
}
`;
}
