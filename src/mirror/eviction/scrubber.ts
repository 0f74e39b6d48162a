import { type Digest, hexOf } from '../../oci/digest.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { Observer } from '../ports/observer.ts';
import type { Waiting } from '../ports/waiting.ts';
import { ContentCheck, type ContentCheckDeps } from './content-check.ts';
import type { ScrubProgress } from './scrub-progress.ts';

export interface ScrubberDeps extends Omit<ContentCheckDeps, 'part'> {
  readonly store: Pick<BlobStore, 'list' | 'open' | 'quarantine'>;
  readonly observer: Pick<Observer, 'integrityChecked' | 'internalError'>;
  readonly progress: Pick<ScrubProgress, 'load' | 'begin' | 'passed' | 'ended' | 'save' | 'dueInMs'>;
  /** From the beginning of one round to that of the next. Infinity: never. */
  readonly everyMs: number;
}

const betweenRoundsMs = 1_000;
/** A round that a failing disk has ended goes on no later than that. */
const longestRetryMs = 3_600_000;
/** A timer of more than 24 days would end at once. */
const longestTimerMs = 86_400_000;

/**
 * Reads all stored content again and again, at a bounded rate. Files that do not match their digest are quarantined and counted; the next
 * pull fetches them again. A round goes through the digests in their order, and a restart goes on where it was. It can run while blobs are
 * read and evicted.
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
    else void this.#deps.progress.load(); // For the metrics.
  }

  async stop({ signal }: Waiting): Promise<void> {
    this.#stopping.abort(new Error('the scrubber is stopping'));
    await this.#running;
    if (Number.isFinite(this.#deps.everyMs)) await abortable(this.#deps.progress.save(), signal).catch(() => {});
  }

  /** The rest of the round in progress, or else one over all content. */
  async round({ signal }: Waiting): Promise<void> {
    const { progress } = this.#deps;
    const check = new ContentCheck({ ...this.#deps, part: 'scrubber' });
    const after = await progress.begin();
    for (let folder = Number.parseInt(after.slice(0, 2), 16) || 0; folder < 0x100; folder += 1) {
      for (const digest of await this.#digestsIn(folder, { after, signal })) {
        signal.throwIfAborted();
        await check.check(digest, { signal });
        progress.passed(hexOf(digest));
      }
    }
    await progress.ended();
  }

  /** The stored digests in one of 256 parts of their space, in their order. */
  async #digestsIn(
    folder: number,
    { after, signal }: Waiting & { readonly after: string },
  ): Promise<readonly Digest[]> {
    const digests: Digest[] = [];
    const startingWith = folder.toString(16).padStart(2, '0');
    for await (const { digest } of this.#deps.store.list({ startingWith })) {
      signal.throwIfAborted();
      if (hexOf(digest) > after) digests.push(digest);
    }
    return digests.toSorted((one, other) => (hexOf(one) < hexOf(other) ? -1 : 1));
  }

  async #rounds(): Promise<void> {
    const { everyMs, progress } = this.#deps;
    const { signal } = this.#stopping;
    await progress.load();
    for (let restMs = progress.dueInMs(everyMs); ; ) {
      await this.#rest(restMs);
      if (signal.aborted) return;
      restMs = Math.max(betweenRoundsMs, (await this.#tryRound()) ? progress.dueInMs(everyMs) : this.#retryAfterMs);
    }
  }

  get #retryAfterMs(): number {
    return Math.min(this.#deps.everyMs, longestRetryMs);
  }

  /** Resolves early when the scrubber stops. */
  async #rest(restMs: number): Promise<void> {
    const { signal } = this.#stopping;
    for (let leftMs = restMs; leftMs > 0 && !signal.aborted; leftMs -= longestTimerMs)
      await this.#deps.wait(Math.min(leftMs, longestTimerMs), { signal }).catch(() => {});
  }

  /** @returns whether it came to its end. */
  async #tryRound(): Promise<boolean> {
    const { signal } = this.#stopping;
    try {
      await this.round({ signal });
      return true;
    } catch (cause) {
      if (!signal.aborted) this.#deps.observer.internalError({ part: 'scrubber', cause });
      return false;
    }
  }
}
