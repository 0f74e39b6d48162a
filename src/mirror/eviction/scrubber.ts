import { type Digest, hexOf } from '../../oci/digest.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Waiting } from '../ports/waiting.ts';
import { ContentCheck, type ContentCheckDeps } from './content-check.ts';

export interface ScrubberDeps extends Omit<ContentCheckDeps, 'part'> {
  readonly store: Pick<BlobStore, 'list' | 'open' | 'quarantine'>;
  readonly clock: Clock;
  readonly observer: Observer;
  /** From the beginning of one round to that of the next. Infinity: never. */
  readonly everyMs: number;
  /** From 0 up to 1. */
  readonly random: () => number;
}

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
    const check = new ContentCheck({ ...this.#deps, part: 'scrubber' });
    const startPosition = this.#deps.random();
    let checkedBytes = 0;
    for (const isFirstHalf of [true, false]) {
      for await (const { digest } of this.#deps.store.list()) {
        if (positionOf(digest) >= startPosition !== isFirstHalf) continue;
        signal.throwIfAborted();
        checkedBytes += (await check.check(digest, { signal })).bytes;
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
}

/** The position of a digest in the digest space, from 0 up to 1. */
function positionOf(digest: Digest): number {
  return Number.parseInt(hexOf(digest).slice(0, 4), 16) / 0x10000;
}
