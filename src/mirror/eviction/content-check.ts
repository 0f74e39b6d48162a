import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../../oci/digest.ts';
import type { BlobStore, StoredBlob } from '../ports/blob-store.ts';
import type { Observer } from '../ports/observer.ts';
import type { Waiting } from '../ports/waiting.ts';

export interface ContentCheckDeps {
  readonly store: Pick<BlobStore, 'open' | 'quarantine'>;
  readonly observer: Pick<Observer, 'integrityChecked' | 'internalError'>;
  /** Infinity: as fast as the disk. */
  readonly bytesPerSecond: number;
  /** Called after a file was quarantined, so that a copy in memory can be stored again. */
  readonly onQuarantined: (digest: Digest) => void;
  /** Resolves after `ms`. @throws when the signal aborts before. */
  readonly wait: (ms: number, waiting: Waiting) => Promise<unknown>;
  /** Who checks, where a failure of the disk is reported. */
  readonly part: string;
}

/** `missing`: it is not stored. `unreadable`: the disk fails to read it, or to quarantine it, which is reported. */
export interface Checked {
  readonly result: 'intact' | 'damaged' | 'missing' | 'unreadable';
  /** How many were read. */
  readonly bytes: number;
}

const pieceBytes = 256 * 1024;

/** Reads stored content, one file after the other, and compares it with its digest. Damaged files are quarantined and counted. */
export class ContentCheck {
  readonly #deps: ContentCheckDeps;
  readonly #buffer = Buffer.allocUnsafeSlow(pieceBytes);

  constructor(deps: ContentCheckDeps) {
    this.#deps = deps;
  }

  /** One call at a time. @throws the signal's reason. */
  async check(digest: Digest, waiting: Waiting): Promise<Checked> {
    const { store, observer, onQuarantined, part } = this.#deps;
    try {
      await using blob = await store.open(digest);
      if (!blob) return { result: 'missing', bytes: 0 };
      const isIntact = (await this.#hash(blob, algorithmOf(digest), waiting)) === digest;
      observer.integrityChecked({ isIntact, bytes: blob.size });
      if (isIntact) return { result: 'intact', bytes: blob.size };
      await store.quarantine(digest, 'scrub');
      onQuarantined(digest);
      return { result: 'damaged', bytes: blob.size };
    } catch (cause) {
      if (waiting.signal.aborted) throw cause;
      observer.internalError({ part, cause });
      return { result: 'unreadable', bytes: 0 };
    }
  }

  async #hash(blob: StoredBlob, algorithm: 'sha256' | 'sha512', waiting: Waiting): Promise<Digest> {
    const { bytesPerSecond, wait } = this.#deps;
    const hash = createHash(algorithm);
    for (let position = 0; ; ) {
      const bytes = await blob.read(this.#buffer, position);
      if (bytes === 0) return digestFrom(hash, algorithm);
      hash.update(this.#buffer.subarray(0, bytes));
      position += bytes;
      if (Number.isFinite(bytesPerSecond)) await wait((bytes / bytesPerSecond) * 1000, waiting);
      else waiting.signal.throwIfAborted();
    }
  }
}
