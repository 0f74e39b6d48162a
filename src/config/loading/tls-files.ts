import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { reasonOf } from './interpolate.ts';
import type { Problem } from './problems.ts';

/** The files of the certificates towards one upstream. */
export interface TlsFiles {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

/** The contents of those files: PEM. */
export interface TlsTexts {
  readonly ca?: string | undefined;
  readonly certificate?: string | undefined;
  readonly key?: string | undefined;
}

/** Reads the files of one upstream. @returns their contents and their problems, each with its key. */
export function readTlsFiles({ caFile, certFile, keyFile }: TlsFiles): {
  readonly texts: TlsTexts;
  readonly problems: readonly Problem[];
} {
  const problems: Problem[] = [];
  const read = (key: string, path: string | undefined): string | undefined => {
    try {
      return path === undefined ? undefined : readFileSync(path, 'utf8');
    } catch (cause) {
      problems.push({ path: [key], message: `the file ${path} cannot be read: ${reasonOf(cause)}` });
      return undefined;
    }
  };
  const texts = { ca: read('caFile', caFile), certificate: read('certFile', certFile), key: read('keyFile', keyFile) };
  if (texts.ca !== undefined && !isCertificate(texts.ca)) {
    problems.push({ path: ['caFile'], message: `the file ${caFile} holds no certificate` });
  }
  if (texts.certificate !== undefined && texts.key !== undefined && !isPair(texts.certificate, texts.key)) {
    problems.push({ path: ['keyFile'], message: `${certFile} and ${keyFile} are not a certificate and its key` });
  }
  return { texts, problems };
}

/** The certificate and key files of all upstreams. */
export function tlsFilesOf({
  upstreams,
}: {
  readonly upstreams: readonly { readonly tls: TlsFiles }[];
}): readonly string[] {
  return upstreams.flatMap(({ tls: { caFile, certFile, keyFile } }) =>
    [caFile, certFile, keyFile].filter((file) => file !== undefined),
  );
}

/** Of what these files hold now, in hex. One that cannot be read counts as well. */
export function sha256OfTlsFiles(config: Parameters<typeof tlsFilesOf>[0]): string {
  const hash = createHash('sha256');
  for (const file of tlsFilesOf(config)) hash.update(sha256OrReason(file));
  return hash.digest('hex');
}

function sha256OrReason(file: string): string {
  try {
    return createHash('sha256').update(readFileSync(file)).digest('hex');
  } catch (cause) {
    return reasonOf(cause);
  }
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).subject !== undefined;
  } catch {
    return false;
  }
}

function isPair(cert: string, key: string): boolean {
  try {
    createSecureContext({ cert, key });
    return true;
  } catch {
    return false;
  }
}
