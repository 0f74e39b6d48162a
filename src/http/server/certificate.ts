import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
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
 * A certificate and its key from files, read again when they are renewed. The files are read every few seconds: file system notifications miss
 * how Kubernetes renews a mounted secret, by switching a symbolic link; and what could not be read once must be read again, although nothing
 * changes any more. An unusable renewal is reported and changes nothing.
 */
export class Certificate {
  readonly #files: CertificateFiles;
  readonly #report: (cause: unknown) => void;
  readonly #pollEveryMs: number;
  #current: CertificateBytes;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  /** Of the last look. */
  #problem: string | undefined;
  /** Of these, the one that was reported last. */
  #reported: string | undefined;

  /** @throws when the files cannot be read or do not fit together. */
  constructor(files: CertificateFiles, options: { report: (cause: unknown) => void; pollEveryMs?: number }) {
    this.#files = files;
    this.#report = options.report;
    this.#pollEveryMs = options.pollEveryMs ?? pollEveryMs;
    const { certFile, keyFile } = files;
    this.#current = fitting(files, { cert: readNamed(certFile), key: readNamed(keyFile) });
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
    const look = async (): Promise<void> => {
      await this.#look(listener);
      if (!this.#isClosed) this.#timer = setTimeout(() => void look(), this.#pollEveryMs).unref();
    };
    void look();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #look(listener: (renewed: CertificateBytes) => void): Promise<void> {
    try {
      const { certFile, keyFile } = this.#files;
      const [cert, key] = [await readFile(certFile).catch(unreadable), await readFile(keyFile).catch(unreadable)];
      const isOther = !cert.equals(this.#current.cert) || !key.equals(this.#current.key);
      if (isOther && !this.#isClosed) this.#use(fitting(this.#files, { cert, key }), listener);
      this.#problem = undefined;
      this.#reported = undefined;
    } catch (cause) {
      this.#reportOnce(cause);
    }
  }

  #use(renewed: CertificateBytes, listener: (renewed: CertificateBytes) => void): void {
    const endsAtMs = endOfCertificate(renewed.cert);
    if (endsAtMs < Date.now() && endsAtMs < this.endsAtMs)
      throw new Error(`the certificate in ${this.#files.certFile} expired at ${new Date(endsAtMs).toISOString()}`);
    listener(renewed);
    this.#current = renewed;
  }

  /** One file may be written before the other: what two looks in a row find is a problem. */
  #reportOnce(cause: unknown): void {
    const problem = String(cause);
    if (this.#problem === problem && this.#reported !== problem) {
      this.#reported = problem;
      this.#report(cause);
    }
    this.#problem = problem;
  }
}

/** When a certificate (PEM) expires, in milliseconds since 1970. */
export function endOfCertificate(pem: Buffer | string): number {
  return Date.parse(new X509Certificate(pem).validTo);
}

/** @throws Error unless they are a certificate and its key. */
function fitting({ certFile, keyFile }: CertificateFiles, bytes: CertificateBytes): CertificateBytes {
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
    return unreadable(cause);
  }
}

/** @throws Error always. */
function unreadable(cause: unknown): never {
  const reason = cause instanceof Error ? cause.message : String(cause);
  throw new Error(`the certificate of the listener cannot be read: ${reason}`, { cause });
}
