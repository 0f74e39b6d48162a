import { createHash, type Hash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../../oci/digest.ts';
import type { IncomingBlob, Mark } from '../ports/blob-store.ts';
import type { Waiting } from '../ports/waiting.ts';

/** What a crash costs at most of a running download. */
const markEveryBytes = 16 * 1024 * 1024;
/** Less is fetched again sooner than gone on with. */
const minLeftBytes = 8 * 1024 * 1024;
const readBytes = 256 * 1024;

export interface MarksDeps {
  readonly digest: Digest;
  readonly incoming: IncomingBlob;
  /** What it holds already. */
  readonly made: Mark | undefined;
}

/** How far the writing is, and the hash of all that. */
export interface Written {
  readonly bytes: number;
  readonly hash: Hash;
}

/** Marks an arriving blob now and then, beside the writing, which never waits for it. */
export class Marks {
  readonly #deps: MarksDeps;
  #markedBytes: number;
  #written: Written | undefined;
  #making: Promise<void> | undefined;

  constructor(deps: MarksDeps) {
    this.#deps = deps;
    this.#markedBytes = deps.made?.bytes ?? 0;
  }

  afterWriting(written: Written): void {
    this.#written = written;
    this.#makeIfDue();
  }

  /** Leaves what is written, or what was there before, to the next attempt, if it is worth it. Nothing may be written any more. */
  async leave(): Promise<void> {
    const { incoming } = this.#deps;
    if (!this.#written) await incoming.leave();
    else if (this.#written.bytes >= minLeftBytes) await incoming.leave(this.#markOf(this.#written));
  }

  /** Nothing is marked any more. */
  async clear(): Promise<void> {
    this.#markedBytes = 0;
    await this.#deps.incoming.clear();
  }

  /** Once one is made, what was written meanwhile may be worth the next. */
  #makeIfDue(): void {
    if (this.#making || !this.#written || this.#written.bytes - this.#markedBytes < markEveryBytes) return;
    this.#making = this.#make(this.#written).finally(() => {
      this.#making = undefined;
      this.#makeIfDue();
    });
  }

  async #make(written: Written): Promise<void> {
    this.#markedBytes = written.bytes;
    await this.#deps.incoming.mark(this.#markOf(written));
  }

  #markOf({ bytes, hash }: Written): Mark {
    return { bytes, digest: digestFrom(hash.copy(), algorithmOf(this.#deps.digest)) };
  }
}

/**
 * Reads back what is marked, and hashes it.
 * @returns the hash that was fed with it; undefined once `signal` aborts.
 * @throws Error when it is not what the mark says, or cannot be read.
 */
export async function readBack(
  incoming: Pick<IncomingBlob, 'read'>,
  mark: Mark,
  { signal }: Waiting,
): Promise<Hash | undefined> {
  const hash = createHash(algorithmOf(mark.digest));
  const buffer = Buffer.allocUnsafe(readBytes);
  for (let position = 0; position < mark.bytes; ) {
    if (signal.aborted) return undefined;
    const bytes = await incoming.read(buffer.subarray(0, Math.min(readBytes, mark.bytes - position)), position);
    if (bytes === 0) throw new Error(`what an interrupted download left ends at ${position} of ${mark.bytes} bytes`);
    hash.update(buffer.subarray(0, bytes));
    position += bytes;
  }
  const actual = digestFrom(hash.copy(), algorithmOf(mark.digest));
  if (actual !== mark.digest) throw new Error(`what an interrupted download left is ${actual}, and was ${mark.digest}`);
  return hash;
}
