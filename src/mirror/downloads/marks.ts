import type { Hash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom } from '../../oci/digest.ts';
import type { IncomingBlob, Mark } from '../ports/blob-store.ts';

/** What a crash costs at most of a running download. */
const markEveryBytes = 16 * 1024 * 1024;
/** Less is fetched again sooner than gone on with. */
const minLeftBytes = 8 * 1024 * 1024;

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
