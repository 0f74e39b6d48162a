import { BlobInMemory } from '../../../../src/mirror/blobs/small-blobs.ts';
import { Space, type SpaceDeps } from '../../../../src/mirror/eviction/space.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import type { Gate } from '../../../support/gate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { noLooseRecords } from '../../../support/no-loose-records.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const day = 24 * 3_600_000;
const app = { upstream: 'docker.io', repository: parseRepository('library/app') };
const digestNamed = (name: string): Digest => digestOf(Buffer.from(name));
interface Stored {
  readonly name: string;
  readonly size: number;
  readonly usedAtMs: number;
  readonly names?: readonly string[];
  readonly repositoryId?: typeof app;
}

/** A store of which only sizes are known, and the space on it. */
export class Disk {
  readonly index: MemoryIndex;
  readonly records = new MemoryRecords();
  readonly clock = new ManualClock(100 * day);
  readonly observer = new RecordingObserver();
  readonly evicted = new Set<Digest>();
  readonly busy = new Set<Digest>();
  /** Evicted, and pulled since. */
  readonly storedAgain = new Set<Digest>();
  pendingBytes = 0;
  freeBytes = 1e15;
  inodes: (() => { readonly free: number; readonly all: number }) | undefined;
  partialBytes = 0;
  fails = false;
  isRemoved = false;
  /** Until it opens the disk removes nothing. */
  holdRemovals: Gate | undefined;
  /** How many files are being removed. */
  removing = 0;
  readonly space: Space;

  constructor({ keep = [], ...more }: Partial<SpaceDeps> & { readonly keep?: readonly string[] } = {}) {
    this.index = new MemoryIndex({ keep });
    this.space = new Space({
      index: this.index,
      records: this.records,
      loose: noLooseRecords,
      clock: this.clock,
      observer: this.observer,
      limits: { maxBytes: 100, minFreeBytes: 0, maxFiles: 1e6 },
      unusedForMs: Infinity,
      onEvicted: (_, digest) => digest && this.evicted.add(digest),
      store: {
        open: async (digest) => (this.storedAgain.has(digest) ? new BlobInMemory(Buffer.from('a')) : undefined),
        remove: async () => {
          if (this.fails) throw new Error('EIO');
          this.isRemoved = true;
          this.removing += 1;
          await this.holdRemovals?.opened;
          this.removing -= 1;
        },
        isBeingRead: (digest) => this.busy.has(digest),
        pendingBytes: () => this.pendingBytes,
        partialBytes: () => this.partialBytes,
        pendingFiles: () => 0,
        freeSpace: async () => ({ bytes: this.freeBytes, ...(this.inodes && { inodes: this.inodes() }) }),
        dropPartial: async ({ bytes }) => {
          const dropped = bytes > 0 ? this.partialBytes : 0;
          this.partialBytes -= dropped;
          this.pendingBytes -= dropped;
          return dropped;
        },
      },
      ...more,
    });
  }

  /** @param stored with the records that belong to it. */
  async put(...stored: readonly Stored[]): Promise<void> {
    for (const { name, size, usedAtMs, names = [], repositoryId = app } of stored) {
      const digest = digestNamed(name);
      const kind = names.length > 0 ? 'manifest' : 'blob';
      this.index.recordContent({ digest, size, usedAtMs, isManifest: names.length > 0, names: names.map(digestNamed) });
      this.index.recordLink({ repositoryId, kind, digest, mediaType: undefined, size });
      await this.records.write({ kind, repositoryId, digest }, {});
    }
  }

  get left(): readonly string[] {
    const digests = new Set(this.index.contents.keys());
    return ['a', 'b', 'c', 'd', 'm', 'n'].filter((name) => digests.has(digestNamed(name)));
  }
}
