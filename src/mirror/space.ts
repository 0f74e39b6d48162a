import type { Digest } from '../oci/digest.ts';
import { anyGlobMatcher } from '../oci/glob.ts';
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
  /** Globs on `<upstream>/<repository>` whose content is never evicted. */
  readonly keep: readonly string[];
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
const repositoryPageSize = 1_000;
const keptLookupEveryMs = 60_000;
/** Whoever wanted an interrupted download has given up by then. */
const goOnWithinMs = 24 * 3_600_000;

/** Keeps the store below its bound, ahead of need. One eviction runs at a time. */
export class Space {
  readonly #deps: SpaceDeps;
  readonly #isKeptName: (name: string) => boolean;
  readonly #freedLately = new FreedLately();
  #promisedBytes = 0;
  #kept = { bytes: 0, lookedUpAtMs: -Infinity };
  #turn: Promise<unknown> = Promise.resolve();

  constructor(deps: SpaceDeps) {
    this.#deps = deps;
    this.#isKeptName = anyGlobMatcher(deps.keep);
  }

  /**
   * Makes room for a download, evicting what was not used for longest.
   * @param bytes undefined when the size is not known: then only the bound as it stands is kept.
   * @returns undefined when there is no room and none can be made: what arrives is served without being stored.
   */
  reserve(bytes: number | undefined): Promise<Reservation | undefined> {
    return this.#inTurn(async () => ((await this.#makeRoom(bytes ?? 0)) ? this.#promise(bytes ?? 0) : undefined));
  }

  /** Evicts what nobody pulled for too long, and what a lowered bound leaves no room for; drops downloads nobody went on with. */
  sweep(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#deps.store.dropInterrupted({ bytes: 0, leftBeforeMs: this.#deps.clock.now() - goOnWithinMs });
      await this.#makeRoom(0);
      const { clock, unusedForMs, index } = this.#deps;
      const usedBeforeMs = clock.now() - unusedForMs;
      // An index made anew knows when a blob was written, not when it was last pulled.
      if ((await index.watchingSinceMs()) > usedBeforeMs) return;
      for (;;) {
        const [victim] = await this.#victims({ bytesNeeded: 1, usedBeforeMs });
        if (!victim) return;
        if (!(await this.#evict(victim, 'unused'))) return;
      }
    });
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

  /** What interrupted downloads left goes before anything that can be served. @returns whether there is room for `wantedBytes`. */
  async #makeRoom(wantedBytes: number): Promise<boolean> {
    for (;;) {
      const { shortBytes, bytesNeeded, measured } = await this.#shortage(wantedBytes);
      if (bytesNeeded === 0) return shortBytes === 0;
      const dropped = await this.#deps.store.dropInterrupted({ bytes: bytesNeeded, leftBeforeMs: -Infinity });
      if (dropped > 0) {
        this.#freedLately.note(dropped, measured);
        continue;
      }
      if (bytesNeeded > (await this.#deps.index.totals()).bytes - (await this.#keptBytes())) return false;
      const victims = await this.#victims({ bytesNeeded, usedBeforeMs: Infinity });
      if (victims.length === 0) return false;
      let isSomeGone = false;
      for (const victim of victims) {
        if (!(await this.#evict(victim, 'lru'))) continue;
        this.#freedLately.note(victim.size, measured);
        isSomeGone = true;
      }
      if (!isSomeGone) return false;
    }
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
        { bytesNeeded, isKept: (content) => this.#isKept(content), isBusy: ({ digest }) => store.isBeingRead(digest) },
      );
      const isLast = page.length < pageSize || (after?.usedAtMs ?? 0) >= usedBeforeMs;
      if (victims.length > 0 || isLast) return victims;
    }
  }

  /** What will stay whatever is evicted, looked up now and then: only so much can be made room for. */
  async #keptBytes(): Promise<number> {
    const { keep, clock } = this.#deps;
    const { bytes, lookedUpAtMs } = this.#kept;
    if (keep.length === 0 || clock.monotonicMs() - lookedUpAtMs < keptLookupEveryMs) return bytes;
    this.#kept = {
      bytes: await this.#deps.index.heldBytes(await this.#keptNames()),
      lookedUpAtMs: clock.monotonicMs(),
    };
    return this.#kept.bytes;
  }

  async #keptNames(): Promise<readonly string[]> {
    const names: string[] = [];
    for (let last: string | undefined; ; ) {
      const page = await this.#deps.index.repositories({ last, limit: repositoryPageSize });
      names.push(...page.filter((name) => this.#isKeptName(name)));
      last = page.at(-1);
      if (page.length < repositoryPageSize) return names;
    }
  }

  #isKept({ holders }: EvictableContent): boolean {
    return holders.some(({ upstream, repository }) => this.#isKeptName(`${upstream}/${repository}`));
  }

  /**
   * The records go first: a record without content costs one download, content without its record one look upstream. What the disk does
   * not let go goes on counting.
   * @returns whether it is gone.
   */
  async #evict(content: EvictableContent, reason: 'lru' | 'unused'): Promise<boolean> {
    const { index, records, store, observer, onEvicted } = this.#deps;
    const { digest, size } = content;
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
