import { createHash, type Hash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../../../oci/digest.ts';
import { Room } from '../../downloads/begin-download.ts';
import { commitBlob, CommitOnce } from '../../downloads/commit.ts';
import type { Space } from '../../eviction/space.ts';
import type { BlobStore } from '../../ports/blob-store.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Observer } from '../../ports/observer.ts';
import type { Index } from '../../ports/store-index.ts';
import { NoRoom } from '../../transfers/transfer-errors.ts';

export interface StoreBlobsDeps {
  readonly store: Pick<BlobStore, 'create' | 'open'>;
  readonly space: Pick<Space, 'reserve' | 'couldHold'>;
  readonly index: Pick<Index, 'recordContent'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly observer: Pick<Observer, 'internalError' | 'contentStored'>;
}

/** Bytes of an archive with the digest and the size that it claims for them. */
export interface ArchivedBlob {
  readonly digest: Digest;
  readonly size: number;
  readonly body: AsyncIterable<Uint8Array>;
}

/** An archive is not what it should be. What was verified before stays stored, and is linked to nothing. */
export class ArchiveRefused extends Error {
  override readonly name = 'ArchiveRefused';
}

/** Only for the names of partial downloads, which are never left here. */
const sender = 'archive';

/**
 * Stores blobs of archives. A blob is visible once all of it is verified; no repository serves it before it is linked. What is stored already
 * is verified too: an archive with wrong bytes is refused, whatever the store has.
 */
export class StoreBlobs {
  readonly #deps: StoreBlobsDeps;
  readonly #commits = new CommitOnce();

  constructor(deps: StoreBlobsDeps) {
    this.#deps = deps;
  }

  /** @throws ArchiveRefused if the bytes are others; NoRoom; the file system's error; what the body throws. */
  async store(blob: ArchivedBlob): Promise<'stored' | 'present'> {
    const { digest, size, body } = blob;
    if (await this.#isStored(digest, size)) {
      const hash = createHash(algorithmOf(digest));
      for await (const piece of body) hash.update(piece);
      throwIfOther(digest, hash);
      return 'present';
    }
    if (!(await this.#deps.space.couldHold(size))) throw new NoRoom();
    return this.#write(blob);
  }

  async #write({ digest, size, body }: ArchivedBlob): Promise<'stored' | 'present'> {
    const { store, space, index, clock, observer } = this.#deps;
    using room = new Room({ space, claimedBytes: size });
    await room.makeFor(Math.min(1, size)); // Before there is a file.
    await using incoming = await store.create(digest, sender);
    const hash = createHash(algorithmOf(digest));
    for await (const piece of body) {
      hash.update(piece);
      await room.makeFor(piece.byteLength);
      await incoming.append([piece]);
      room.wrote(piece.byteLength);
    }
    throwIfOther(digest, hash);
    using turn = this.#commits.join(digest);
    const kept = await commitBlob(turn, { digest, incoming }, { store, observer });
    if (kept === 'stored-already') return 'present';
    // Whether it is a manifest is known at the end of the archive.
    index.recordContent({ digest, size, isManifest: false, names: [], usedAtMs: clock.now() });
    observer.contentStored({ kind: 'blob', bytes: size });
    return 'stored';
  }

  async #isStored(digest: Digest, size: number): Promise<boolean> {
    await using stored = await this.#deps.store.open(digest);
    return stored?.size === size;
  }
}

/** @throws ArchiveRefused if what was hashed has another digest. */
function throwIfOther(digest: Digest, hash: Hash): void {
  const actual = digestFrom(hash, algorithmOf(digest));
  if (actual !== digest) throw new ArchiveRefused(`the bytes of ${digest} are those of ${actual}`);
}
