import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';

export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface CertificateBytes {
  readonly cert: Buffer;
  readonly key: Buffer;
}

const pollEveryMs = 5_000;

/**
 * A certificate and its key from files, read again when they are renewed. The files are polled, because file system notifications miss how
 * Kubernetes renews a mounted secret: by switching a symbolic link. An unusable renewal is reported and changes nothing.
 */
export class Certificate {
  readonly #files: CertificateFiles;
  readonly #report: (cause: unknown) => void;
  readonly #pollEveryMs: number;
  #current: CertificateBytes;
  #listener: ((renewed: CertificateBytes) => void) | undefined;

  /** @throws when the files cannot be read or do not fit together. */
  constructor(files: CertificateFiles, options: { report: (cause: unknown) => void; pollEveryMs?: number }) {
    this.#files = files;
    this.#report = options.report;
    this.#pollEveryMs = options.pollEveryMs ?? pollEveryMs;
    this.#current = read(files);
  }

  current(): CertificateBytes {
    return this.#current;
  }

  /** When it expires, in milliseconds since 1970. */
  get endsAtMs(): number {
    return endOfCertificate(this.#current.cert);
  }

  /** Calls `listener` with every usable renewal, until {@link close}. */
  onRenewed(listener: (renewed: CertificateBytes) => void): void {
    this.#listener = listener;
    for (const file of [this.#files.certFile, this.#files.keyFile]) {
      watchFile(file, { interval: this.#pollEveryMs, persistent: false }, this.#poll);
    }
  }

  close(): void {
    for (const file of [this.#files.certFile, this.#files.keyFile]) unwatchFile(file, this.#poll);
  }

  readonly #poll = (): void => {
    try {
      const found = read(this.#files);
      if (found.cert.equals(this.#current.cert) && found.key.equals(this.#current.key)) return;
      this.#current = found;
      this.#listener?.(found);
    } catch (cause) {
      this.#report(cause);
    }
  };
}

/** When a certificate (PEM) expires, in milliseconds since 1970. */
export function endOfCertificate(pem: Buffer | string): number {
  return Date.parse(new X509Certificate(pem).validTo);
}

function read({ certFile, keyFile }: CertificateFiles): CertificateBytes {
  const bytes = { cert: readNamed(certFile), key: readNamed(keyFile) };
  try {
    createSecureContext(bytes);
  } catch (cause) {
    throw new Error(`${certFile} and ${keyFile} are not a certificate and its key`, { cause });
  }
  return bytes;
}

function readNamed(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the certificate of the listener cannot be read: ${reason}`, { cause });
  }
}
