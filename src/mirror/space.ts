import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Digest } from '../oci/digest.ts';
import { bytesToFree, chooseVictims, type SpaceLimits } from './eviction.ts';
import { FreedLately } from './freed-lately.ts';
import type {
  BlobStore,
  Clock,
  EvictableContent,
  EvictionPosition,
  Index,
  Observer,
  RecordKey,
  RecordStore,
} from './ports.ts';

export interface SpaceDeps {
  readonly store: Pick<BlobStore, 'remove' | 'isBeingRead' | 'pendingBytes' | 'freeBytes' | 'dropInterrupted'>;
  readonly records: RecordStore;
  readonly index: Index;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly limits: SpaceLimits;
  /** Content nobody pulled for this long goes though there is room. */
  readonly unusedForMs: number;
  /** What is evicted must leave the memories too. */
  readonly onEvicted: (digest: Digest, records: readonly RecordKey[]) => void;
}

/** Room promised to one download. */
export interface Reservation {
  /** Moves bytes from "promised" to "written". Beyond what was promised they simply count. */
  wrote(bytes: number): void;
  release(): void;
}

const pageSize = 32;
/** Whoever wanted an interrupted download has given up by then. */
const goOnWithinMs = 24 * 3_600_000;

/** Keeps the store below its bound, ahead of need. One eviction runs at a time. */
export class Space {
  readonly #deps: SpaceDeps;
  readonly #freedLately = new FreedLately();
  #promisedBytes = 0;
  #sweeping: Promise<void> | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(deps: SpaceDeps) {
    this.#deps = deps;
  }

  /**
   * Makes room for a download, evicting what was not used for longest.
   * @param bytes undefined when the size is not known: then only the bound as it stands is kept.
   * @returns undefined when there is no room and none can be made: what arrives is served without being stored.
   */
  reserve(bytes: number | undefined): Promise<Reservation | undefined> {
    return this.#inTurn(async () => ((await this.#makeRoom(bytes ?? 0)) ? this.#promise(bytes ?? 0) : undefined));
  }

  /**
   * Evicts what nobody pulled for too long, and what a lowered bound leaves no room for; drops downloads nobody went on with. One sweep
   * runs at a time, in steps between which reservations get their turn.
   */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  async #sweep(): Promise<void> {
    const { store, clock, unusedForMs, index } = this.#deps;
    const leftBeforeMs = clock.now() - goOnWithinMs;
    await this.#inTurn(() => store.dropInterrupted({ bytes: 0, leftBeforeMs }));
    while ((await this.#inTurn(() => this.#freeSome(0))) === 'freed');
    const usedBeforeMs = clock.now() - unusedForMs;
    // An index made anew knows when a blob was written, not when it was last pulled.
    if ((await index.watchingSinceMs()) > usedBeforeMs) return;
    while (await this.#inTurn(() => this.#evictOneUnused(usedBeforeMs)));
  }

  /** @returns whether there may be more. */
  async #evictOneUnused(usedBeforeMs: number): Promise<boolean> {
    const [victim] = await this.#victims({ bytesNeeded: 1, usedBeforeMs });
    return victim !== undefined && (await this.#evict(victim, 'unused'));
  }

  #promise(bytes: number): Reservation {
    let leftBytes = bytes;
    this.#promisedBytes += bytes;
    const settle = (settledBytes: number) => {
      const counted = Math.min(settledBytes, leftBytes);
      leftBytes -= counted;
      this.#promisedBytes -= counted;
    };
    return { wrote: settle, release: () => settle(leftBytes) };
  }

  /** @returns whether there is room for `wantedBytes`. */
  async #makeRoom(wantedBytes: number): Promise<boolean> {
    for (;;) {
      const outcome = await this.#freeSome(wantedBytes);
      if (outcome !== 'freed') return outcome === 'enough';
    }
  }

  /**
   * One step towards room for `wantedBytes`. What interrupted downloads left goes before anything that can be served.
   * @returns `freed` when there may be more to do.
   */
  async #freeSome(wantedBytes: number): Promise<'enough' | 'freed' | 'impossible'> {
    const { store, index } = this.#deps;
    const { shortBytes, bytesNeeded, measured } = await this.#shortage(wantedBytes);
    if (bytesNeeded === 0) return shortBytes === 0 ? 'enough' : 'impossible';
    const dropped = await store.dropInterrupted({ bytes: bytesNeeded, leftBeforeMs: -Infinity });
    if (dropped > 0) {
      this.#freedLately.note(dropped, measured);
      return 'freed';
    }
    const { bytes, keptBytes } = await index.totals();
    if (bytesNeeded > bytes - keptBytes) return 'impossible';
    let outcome: 'freed' | 'impossible' = 'impossible';
    for (const victim of await this.#victims({ bytesNeeded, usedBeforeMs: Infinity })) {
      if (!(await this.#evict(victim, 'lru'))) continue;
      this.#freedLately.note(victim.size, measured);
      outcome = 'freed';
    }
    return outcome;
  }

  /** How much room is missing, and how much has to go for it: less, where what went already does not show yet. */
  async #shortage(wantedBytes: number) {
    const { store, index, limits, clock } = this.#deps;
    // Asked first: what arrives meanwhile is then counted twice for a moment, and never not at all.
    const pendingBytes = store.pendingBytes() + this.#promisedBytes;
    const [{ bytes }, freeBytes] = await Promise.all([index.totals(), store.freeBytes()]);
    const use = { storedBytes: bytes, pendingBytes, freeBytes: freeBytes - this.#promisedBytes };
    const measured = { togetherBytes: freeBytes + bytes + store.pendingBytes(), nowMs: clock.monotonicMs() };
    const soonFree = use.freeBytes + this.#freedLately.unshownBytes(measured);
    return {
      shortBytes: bytesToFree(use, limits, wantedBytes),
      bytesNeeded: bytesToFree({ ...use, freeBytes: soonFree }, limits, wantedBytes),
      measured,
    };
  }

  /** Looks through the evictable, page by page, until some may go. None, while it is not known yet what is kept and what is a part of what. */
  async #victims({
    bytesNeeded,
    usedBeforeMs,
  }: {
    bytesNeeded: number;
    usedBeforeMs: number;
  }): Promise<readonly EvictableContent[]> {
    const { index, store } = this.#deps;
    if (!(await index.isComplete())) return [];
    for (let after: EvictionPosition | undefined; ; ) {
      const page = await index.evictable({ limit: pageSize, after });
      after = page.at(-1);
      const victims = chooseVictims(
        page.filter(({ usedAtMs }) => usedAtMs < usedBeforeMs),
        { bytesNeeded, isBusy: ({ digest }) => store.isBeingRead(digest) },
      );
      const isLast = page.length < pageSize || (after?.usedAtMs ?? 0) >= usedBeforeMs;
      if (victims.length > 0 || isLast) return victims;
    }
  }

  /**
   * The records go first: a record without content costs one download, content without its record one look upstream. What the disk does
   * not let go goes on counting.
   * @returns whether it is gone.
   */
  async #evict(content: EvictableContent, reason: 'lru' | 'unused'): Promise<boolean> {
    const { index, records, store, observer, onEvicted } = this.#deps;
    const { digest, size } = content;
    await nextTurn(); // Many in a row must not keep others waiting.
    const keys = await index.forget(digest);
    onEvicted(digest, keys);
    try {
      for (const key of keys) await records.remove(key);
      await store.remove(digest);
      // Once more: a pull meanwhile may have read of the records what was there yet.
      onEvicted(digest, keys);
    } catch (cause) {
      observer.trouble({ part: 'eviction', cause });
      index.noteContent({ ...content, names: [] });
      return false;
    }
    observer.evicted({ reason, bytes: size });
    return true;
  }

  #inTurn<Value>(work: () => Promise<Value>): Promise<Value> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }
}
