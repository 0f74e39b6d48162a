import { readFile } from 'node:fs/promises';
import { makeCertificateFiles } from '../../support/certificate-files.ts';
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
  const { certFile, keyFile } = await makeCertificateFiles(await temporaryDirectory(), name, hosts);
  return { certificate: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') };
}
