import { createHash, type Hash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../../oci/digest.ts';
import type { IncomingBlob, Checkpoint } from '../ports/blob-store.ts';
import type { Waiting } from '../ports/waiting.ts';

/** A crash costs a running download about this much at most. */
const checkpointEveryBytes = 16 * 1024 * 1024;
/** A smaller partial download is not worth resuming. */
const minPartialBytes = 8 * 1024 * 1024;
const readBytes = 256 * 1024;

export interface MarksDeps {
  readonly digest: Digest;
  readonly incoming: IncomingBlob;
  /** What it holds already. */
  readonly made: Checkpoint | undefined;
}

/** How much is written, and the hash of it. */
export interface Written {
  readonly bytes: number;
  readonly hash: Hash;
}

/** Writes checkpoints of an incoming blob now and then. Writing the blob never waits for them. */
export class Checkpoints {
  readonly #deps: MarksDeps;
  #checkpointBytes: number;
  #written: Written | undefined;
  #making: Promise<void> | undefined;

  constructor(deps: MarksDeps) {
    this.#deps = deps;
    this.#checkpointBytes = deps.made?.bytes ?? 0;
  }

  afterWriting(written: Written): void {
    this.#written = written;
    this.#makeIfDue();
  }

  /** Leaves the partial download to the next attempt if it is large enough. Nothing may be written afterwards. */
  async leave(): Promise<void> {
    const { incoming } = this.#deps;
    if (!this.#written) await incoming.leave();
    else if (this.#written.bytes >= minPartialBytes) await incoming.leave(this.#checkpointOf(this.#written));
  }

  /** Drops the partial download with its checkpoint. */
  async clear(): Promise<void> {
    this.#checkpointBytes = 0;
    await this.#deps.incoming.clear();
  }

  /** When a checkpoint is written, the next one may be due already. */
  #makeIfDue(): void {
    if (this.#making || !this.#written || this.#written.bytes - this.#checkpointBytes < checkpointEveryBytes) return;
    this.#making = this.#make(this.#written).finally(() => {
      this.#making = undefined;
      this.#makeIfDue();
    });
  }

  async #make(written: Written): Promise<void> {
    this.#checkpointBytes = written.bytes;
    await this.#deps.incoming.checkpoint(this.#checkpointOf(written));
  }

  #checkpointOf({ bytes, hash }: Written): Checkpoint {
    return { bytes, digest: digestFrom(hash.copy(), algorithmOf(this.#deps.digest)) };
  }
}

/**
 * Reads back a partial download and hashes it.
 * @returns the hash, updated with all bytes that the checkpoint covers; undefined when `signal` aborts.
 * @throws Error if the bytes are not those that the checkpoint covers, or cannot be read.
 */
export async function readBack(
  incoming: Pick<IncomingBlob, 'read'>,
  checkpoint: Checkpoint,
  { signal }: Waiting,
): Promise<Hash | undefined> {
  const hash = createHash(algorithmOf(checkpoint.digest));
  const buffer = Buffer.allocUnsafe(readBytes);
  for (let position = 0; position < checkpoint.bytes; ) {
    if (signal.aborted) return undefined;
    const bytes = await incoming.read(buffer.subarray(0, Math.min(readBytes, checkpoint.bytes - position)), position);
    if (bytes === 0) throw new Error(`the partial download ends at ${position} of ${checkpoint.bytes} bytes`);
    hash.update(buffer.subarray(0, bytes));
    position += bytes;
  }
  const actual = digestFrom(hash.copy(), algorithmOf(checkpoint.digest));
  if (actual !== checkpoint.digest)
    throw new Error(`the partial download has ${actual}, and its checkpoint has ${checkpoint.digest}`);
  return hash;
}
