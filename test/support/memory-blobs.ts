import type { StoredBlob } from '../../src/mirror/ports/blob-store.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { MemoryIncoming } from './memory-incoming.ts';

/** What is stored, in memory; reads fail where the test says. */
export class MemoryBlobs {
  readonly blobs = new Map<Digest, Buffer>();
  readonly quarantined: Digest[] = [];
  isBroken = false;

  async open(wanted: Digest): Promise<StoredBlob | undefined> {
    if (this.isBroken) throw new Error('EIO');
    const stored = this.blobs.get(wanted);
    if (!stored) return undefined;
    return {
      size: stored.byteLength,
      read: async (into, position) => stored.copy(into, 0, position),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  async create(wanted: Digest) {
    const incoming = new MemoryIncoming();
    const commit = async () => {
      this.blobs.set(wanted, await incoming.all());
    };
    return Object.assign(incoming, { commit });
  }

  async takePartial() {
    return undefined;
  }

  async quarantine(wanted: Digest): Promise<void> {
    this.quarantined.push(wanted);
    this.blobs.delete(wanted);
  }
}
