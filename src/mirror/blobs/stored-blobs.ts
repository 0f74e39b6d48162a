import type { Digest } from '../../oci/digest.ts';
import type { BlobStore, StoredBlob } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { BlobRecord } from '../ports/record-store.ts';
import { Remembered } from '../concurrency/remembered.ts';
import type { ServedBlob } from './served-blob.ts';
import { tellingOfDisk } from './unreadable.ts';

export interface StoredBlobsDeps {
  readonly store: Pick<BlobStore, 'open'>;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'trouble'>;
}

/** By then the disk may have recovered, where the upstream could not help. */
const unreadableForMs = 60_000;
const maxRemembered = 1_000;

/** Stored blobs on a disk that may fail to read what it has: that is no reason to fail a pull. What it failed to read counts as absent, and comes anew. */
export class StoredBlobs {
  readonly #deps: StoredBlobsDeps;
  /** What the disk failed to read a moment ago. */
  readonly #unreadable: Remembered<Error>;

  constructor(deps: StoredBlobsDeps) {
    this.#deps = deps;
    this.#unreadable = new Remembered({ clock: deps.clock, max: maxRemembered });
  }

  /** @returns undefined where it is not stored; `unreadable` where the disk fails to open it. */
  async open(digest: Digest, link: BlobRecord | undefined): Promise<StoredBlob | 'unreadable' | undefined> {
    if (this.#unreadable.get(digest)) return undefined;
    try {
      return await this.#deps.store.open(digest, link?.size);
    } catch (cause) {
      this.#deps.observer.trouble({ part: 'blob store', cause });
      return 'unreadable';
    }
  }

  /** To be called when it was stored anew. */
  forget(digest: Digest): void {
    this.#unreadable.forget(digest);
  }

  /** The same answer, whose reads tell of a disk that fails. @param options.isStored whether it is read from the store. */
  tellingOfDisk(served: ServedBlob, { isStored }: { readonly isStored: boolean } = { isStored: false }): ServedBlob {
    const tell = (cause: unknown) => {
      this.#deps.observer.trouble({ part: 'blob store', cause });
      if (isStored) this.#unreadable.remember(served.digest, new Error('unreadable', { cause }), unreadableForMs);
    };
    return { ...served, source: tellingOfDisk(served.source, tell) };
  }
}
