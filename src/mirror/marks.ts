import type { Hash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../oci/digest.ts';
import type { IncomingBlob, Mark } from './ports.ts';

/** What a crash costs at most of a running download. */
export const markEveryBytes = 16 * 1024 * 1024;
/** Less is fetched again sooner than gone on with. */
export const minLeftBytes = 8 * 1024 * 1024;

export interface MarksDeps {
  readonly digest: Digest;
  readonly incoming: IncomingBlob;
  /** What it holds already. */
  readonly made: Mark | undefined;
}

/** Marks an arriving blob now and then, beside the writing, which never waits for it. */
export class Marks {
  readonly #deps: MarksDeps;
  #markedBytes: number;
  #making: Promise<void> | undefined;

  constructor(deps: MarksDeps) {
    this.#deps = deps;
    this.#markedBytes = deps.made?.bytes ?? 0;
  }

  /** @param hash of all that is written. */
  afterWriting(writtenBytes: number, hash: Hash): void {
    if (this.#making || writtenBytes - this.#markedBytes < markEveryBytes) return;
    this.#making = this.#make(writtenBytes, hash).finally(() => {
      this.#making = undefined;
    });
  }

  /** Leaves what is written to the next attempt, if it is worth it. Nothing may be written any more. */
  async leave(writtenBytes: number, hash: Hash): Promise<void> {
    await this.#making;
    if (writtenBytes > this.#markedBytes && writtenBytes >= minLeftBytes) await this.#make(writtenBytes, hash);
    if (this.#markedBytes > 0) await this.#deps.incoming.leave();
  }

  /** Nothing is marked any more. */
  async clear(): Promise<void> {
    this.#markedBytes = 0;
    await this.#deps.incoming.clear();
  }

  async #make(bytes: number, hash: Hash): Promise<void> {
    this.#markedBytes = bytes;
    await this.#deps.incoming.mark({ bytes, digest: digestFrom(hash.copy(), algorithmOf(this.#deps.digest)) });
  }
}
