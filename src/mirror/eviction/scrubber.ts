import { createHash } from 'node:crypto';
import { algorithmOf, type Digest, digestFrom, hexOf } from '../../oci/digest.ts';
import type { BlobStore, StoredBlob } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Waiting } from '../ports/waiting.ts';

export interface ScrubberDeps {
  readonly store: Pick<BlobStore, 'list' | 'open' | 'quarantine'>;
  readonly clock: Clock;
  readonly observer: Observer;
  /** From the beginning of one round to that of the next. Infinity: never. */
  readonly everyMs: number;
  readonly bytesPerSecond: number;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** Called after a file was quarantined, so that a copy in memory can be stored again. */
  readonly onQuarantined: (digest: Digest) => void;
  /** Resolves after `ms`. @throws when the signal aborts before. */
  readonly wait: (ms: number, waiting: Waiting) => Promise<unknown>;
}

const pieceBytes = 256 * 1024;

/**
 * Reads all stored content again and again, at a bounded rate. Files that do not match their digest are quarantined and counted; the next
 * pull fetches them again. Each round starts at a random digest, so that frequent restarts do not leave the same files unchecked. It can
 * run while blobs are read and evicted.
 */
export class Scrubber {
  readonly name = 'scrubber';
  readonly #deps: ScrubberDeps;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(deps: ScrubberDeps) {
    this.#deps = deps;
  }

  async start(): Promise<void> {
    if (Number.isFinite(this.#deps.everyMs)) this.#running = this.#rounds();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the scrubber is stopping'));
    await this.#running;
  }

  /** One round over all content. */
  async round({ signal }: Waiting): Promise<void> {
    const startedAtMs = this.#deps.clock.monotonicMs();
    const buffer = Buffer.allocUnsafeSlow(pieceBytes);
    const startPosition = this.#deps.random();
    let checkedBytes = 0;
    for (const isFirstHalf of [true, false]) {
      for await (const { digest } of this.#deps.store.list()) {
        if (positionOf(digest) >= startPosition !== isFirstHalf) continue;
        signal.throwIfAborted();
        checkedBytes += await this.#check(digest, buffer, { signal });
      }
    }
    this.#deps.observer.scrubbed({ bytes: checkedBytes, durationMs: this.#deps.clock.monotonicMs() - startedAtMs });
  }

  async #rounds(): Promise<void> {
    const { clock, everyMs, observer, wait } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const startedAtMs = clock.monotonicMs();
      try {
        await this.round({ signal });
      } catch (cause) {
        if (!signal.aborted) observer.internalError({ part: 'scrubber', cause });
      }
      const restMs = Math.max(0, everyMs - (clock.monotonicMs() - startedAtMs));
      await wait(Math.max(restMs, 1_000), { signal }).catch(() => {}); // It only ends early when stopping.
    }
  }

  /** @returns how many bytes were read. */
  async #check(digest: Digest, buffer: Buffer, waiting: Waiting): Promise<number> {
    const { store, observer, onQuarantined } = this.#deps;
    try {
      await using blob = await store.open(digest);
      if (!blob) return 0;
      const actual = await this.#hash(blob, algorithmOf(digest), buffer, waiting);
      observer.integrityChecked({ isIntact: actual === digest });
      if (actual !== digest) {
        await store.quarantine(digest, 'scrub');
        onQuarantined(digest);
      }
      return blob.size;
    } catch (cause) {
      if (waiting.signal.aborted) throw cause;
      observer.internalError({ part: 'scrubber', cause });
      return 0;
    }
  }

  async #hash(blob: StoredBlob, algorithm: 'sha256' | 'sha512', buffer: Buffer, waiting: Waiting): Promise<Digest> {
    const hash = createHash(algorithm);
    let position = 0;
    for (;;) {
      const bytes = await blob.read(buffer, position);
      if (bytes === 0) return digestFrom(hash, algorithm);
      hash.update(buffer.subarray(0, bytes));
      position += bytes;
      await this.#deps.wait((bytes / this.#deps.bytesPerSecond) * 1000, waiting);
    }
  }
}

/** The position of a digest in the digest space, from 0 up to 1. */
function positionOf(digest: Digest): number {
  return Number.parseInt(hexOf(digest).slice(0, 4), 16) / 0x10000;
}
