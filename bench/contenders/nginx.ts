import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CertificateFiles } from '../../test/support/certificate-files.ts';
import { blobFile, type Image } from '../images.ts';
import { freePort, startServer } from '../server-process.ts';
import type { Contender, Site } from './contender.ts';

/** nginx with sendfile, serving the upstream's file of one blob: the fastest that this machine can send a file. */
export async function startNginx(
  site: Site,
  upstreamFolder: string,
  image: Image,
  tls?: CertificateFiles,
): Promise<Contender> {
  const [port, readyPort] = [await freePort(), await freePort()];
  await mkdir(site.folder, { recursive: true });
  const configFile = join(site.folder, 'nginx.conf');
  const path = `/v2/${image.repository}/blobs/${image.layer.digest}`;
  const file = blobFile(upstreamFolder, image.layer.digest);
  await writeFile(configFile, configOf({ port, readyPort, path, file, folder: site.folder, tls }));
  const url = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`;
  const server = await startServer(
    {
      program: site.tools.nginx,
      pinnedBy: site.pinnedBy,
      args: ['-p', site.folder, '-c', configFile],
      env: { PATH: site.searchPath },
      logFile: join(site.folder, 'log'),
      readyUrl: `http://127.0.0.1:${readyPort}/ready`,
    },
    site.signal,
  );
  return { ...server, name: 'nginx', url };
}

interface ConfigValues {
  readonly port: number;
  readonly readyPort: number;
  readonly path: string;
  readonly file: string;
  readonly folder: string;
  readonly tls: CertificateFiles | undefined;
}

function configOf(values: ConfigValues): string {
  // If started as root, the workers would run as nobody, who cannot read the work directory.
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  const { tls } = values;
  const certificate = tls ? `ssl_certificate ${tls.certFile}; ssl_certificate_key ${tls.keyFile};` : '';
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
    listen 127.0.0.1:${values.readyPort};
    location = /ready { return 200; }
  }
  server {
    listen 127.0.0.1:${values.port}${values.tls ? ' ssl' : ''};
    ${certificate}
    location = ${values.path} { alias ${values.file}; }
  }
}
`;
}
