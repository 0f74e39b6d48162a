import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** Makes a self-signed certificate for 127.0.0.1, and for the hosts that are named, as two PEM files in a folder. */
export async function makeCertificateFiles(
  folder: string,
  name: string,
  hosts: readonly string[] = [],
  days = 2,
): Promise<CertificateFiles> {
  const files = { certFile: join(folder, 'certificate.pem'), keyFile: join(folder, 'key.pem') };
  const names = ['IP:127.0.0.1', ...hosts.map((host) => `DNS:${host}`)].join(',');
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${names}`, '-days', String(days)];
  const kind = ['-x509', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  await promisify(execFile)('openssl', ['req', ...kind, ...subject, '-keyout', files.keyFile, '-out', files.certFile]);
  return files;
}
