import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { temporaryDirectory } from '../../support/temp-directory.ts';

export interface Identity {
  readonly certificate: string;
  readonly key: string;
}

/**
 * A certificate for 127.0.0.1, or for the hosts that are named, that vouches for itself; made anew, so that no key lies in the
 * repository.
 */
export async function selfSigned(name: string, hosts: readonly string[] = []): Promise<Identity> {
  const directory = await temporaryDirectory();
  const [keyFile, certificateFile] = [join(directory, 'key.pem'), join(directory, 'certificate.pem')];
  const subject = [
    '-subj',
    `/CN=${name}`,
    '-addext',
    `subjectAltName=${['IP:127.0.0.1', ...hosts.map((host) => `DNS:${host}`)].join(',')}`,
    '-days',
    '2',
  ];
  const kind = ['-x509', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  await promisify(execFile)('openssl', ['req', ...kind, ...subject, '-keyout', keyFile, '-out', certificateFile]);
  return { certificate: await readFile(certificateFile, 'utf8'), key: await readFile(keyFile, 'utf8') };
}
