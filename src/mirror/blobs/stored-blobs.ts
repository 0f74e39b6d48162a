import type { Digest } from '../../oci/digest.ts';
import type { BlobStore, StoredBlob } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { BlobRecord } from '../ports/record-store.ts';
import { Remembered } from '../concurrency/remembered.ts';
import type { ServedBlob } from './served-blob.ts';
import { reportingDiskFailures } from './unreadable.ts';

export interface StoredBlobsDeps {
  readonly store: Pick<BlobStore, 'open'>;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'internalError'>;
}

/** After this time the disk is tried again. */
const unreadableForMs = 60_000;
const maxRemembered = 1_000;

/** Reads stored blobs from a disk that may fail. A blob that could not be read counts as missing for a while, and is downloaded again. */
export class StoredBlobs {
  readonly #deps: StoredBlobsDeps;
  /** Blobs that the disk failed to read a moment ago. */
  readonly #unreadable: Remembered<Error>;

  constructor(deps: StoredBlobsDeps) {
    this.#deps = deps;
    this.#unreadable = new Remembered({ clock: deps.clock, max: maxRemembered });
  }

  /** @returns undefined if the blob is not stored; `unreadable` if the disk fails to open it. */
  async open(digest: Digest, link: BlobRecord | undefined): Promise<StoredBlob | 'unreadable' | undefined> {
    if (this.#unreadable.get(digest)) return undefined;
    try {
      return await this.#deps.store.open(digest, link?.size);
    } catch (cause) {
      this.#deps.observer.internalError({ part: 'blob store', cause });
      return 'unreadable';
    }
  }

  /** To be called when the blob was stored again. */
  forget(digest: Digest): void {
    this.#unreadable.forget(digest);
  }

  /** The same answer, with failures of the disk reported. @param options.isStored whether it is read from the store. */
  reportingDiskFailures(
    served: ServedBlob,
    { isStored }: { readonly isStored: boolean } = { isStored: false },
  ): ServedBlob {
    const tell = (cause: unknown) => {
      this.#deps.observer.internalError({ part: 'blob store', cause });
      if (isStored) this.#unreadable.remember(served.digest, new Error('unreadable', { cause }), unreadableForMs);
    };
    return { ...served, source: reportingDiskFailures(served.source, tell) };
  }
}
