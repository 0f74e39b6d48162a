import pLimit from 'p-limit';
import type { Digest } from '../../../oci/digest.ts';
import { boundedMap } from '../../concurrency/remembered.ts';
import type { PinnedContent } from '../../eviction/eviction.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Observer } from '../../ports/observer.ts';
import { type RepositoryId, repositoryKey } from '../../ports/repository-id.ts';
import { type Catalogue, type Index, mostDetails } from '../../ports/store-index.ts';
import type { Waiting } from '../../ports/waiting.ts';
import { type Pin, parsePin, PinSet } from './pin-set.ts';
import { pinnedBytes, type PinnedUseDeps } from './pinned-use.ts';

export interface KeptPin extends Pin {
  readonly atMs: number;
}

/** Why nothing was pinned. `too-much`: it would keep more than its share of the store. `unknown`: the index cannot tell how much. */
export type PinRefusal = 'too-many' | 'too-many-globs' | 'too-much' | 'unknown';

export interface PinsDeps {
  readonly index: Pick<Catalogue, 'repositories' | 'tags' | 'links' | 'details'> & Pick<Index, 'totals' | 'isComplete'>;
  readonly isKept: PinnedUseDeps['isKept'];
  /** Keeps them for the next process. @throws the disk's error: then nothing has changed. */
  readonly save: (text: string) => Promise<void>;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly maxBytes: number;
  /** For tests. */
  readonly most?: number;
}

export const mostPins = 10_000;
/** Each of them is compared with every name. */
const mostGlobs = 200;
/** What is pinned and kept may take so much of the store: the rest is for what is pulled. */
const mostShare = 0.9;
/** How long content that was found pinned is taken to be so. */
const pinnedForMs = 5 * 60_000;

/** What operators have pinned in this store: it is not evicted. A purge removes it all the same. */
export class Pins implements PinnedContent {
  readonly #deps: PinsDeps;
  #pins: ReadonlyMap<string, KeptPin> = new Map();
  #set = new PinSet([]);
  readonly #found = boundedMap<Digest, number>(50_000);
  readonly #inTurn = pLimit(1);
  #bytes = 0;
  #isKnown = false;
  version = 0;

  constructor(deps: PinsDeps) {
    this.#deps = deps;
  }

  /** False until {@link restore}. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  get isEmpty(): boolean {
    return this.#set.isEmpty;
  }

  /** As last measured, in whole blocks. */
  get bytes(): number {
    return this.#bytes;
  }

  /** In lexical order. */
  list(): readonly KeptPin[] {
    return [...this.#pins.values()].toSorted((one, other) => (one.text < other.text ? -1 : 1));
  }

  /** @returns the pin, also if it was there before. @throws the disk's error. */
  add(pin: Pin, waiting: Waiting): Promise<KeptPin | PinRefusal> {
    return this.#inTurn(async () => {
      const known = this.#pins.get(pin.text);
      if (known) return known;
      const { most = mostPins, clock } = this.#deps;
      if (this.#pins.size >= most) return 'too-many';
      const globs = [...this.#pins.values()].filter(({ isLiteral }) => !isLiteral).length;
      if (!pin.isLiteral && globs >= mostGlobs) return 'too-many-globs';
      const bytes = await this.#bytesWith(pin, waiting);
      if (typeof bytes === 'string') return bytes;
      const added = { ...pin, atMs: clock.now() };
      await this.#keep(new Map([...this.#pins, [pin.text, added]]));
      this.#bytes = bytes;
      return added;
    });
  }

  /** @returns whether it was pinned. @throws the disk's error. */
  remove(text: string, waiting: Waiting): Promise<boolean> {
    return this.#inTurn(async () => {
      const left = new Map(this.#pins);
      if (!left.delete(text)) return false;
      await this.#keep(left);
      await this.#measure(waiting);
      return true;
    });
  }

  /** Takes what earlier processes have saved; undefined: nothing. @returns false if it is not of this version: then nothing is pinned. */
  restore(saved: unknown): boolean {
    const pins = saved === undefined ? [] : savedPins(saved);
    this.#isKnown = true;
    this.#use(new Map((pins ?? []).map((pin) => [pin.text, pin])));
    return pins !== undefined;
  }

  /** Measures again how much of the store is pinned. */
  measure(waiting: Waiting): Promise<void> {
    return this.#inTurn(() => this.#measure(waiting));
  }

  isPinnedRepository(repositoryId: RepositoryId): boolean {
    return !this.#set.isEmpty && this.#set.isAbout(repositoryKey(repositoryId));
  }

  /** Of content that nothing names. What the index cannot tell counts as pinned. */
  async isPinned(digest: Digest): Promise<boolean> {
    if (this.#set.hasDigest(digest)) return true;
    if (!this.#set.hasNames) return false;
    const { index, clock } = this.#deps;
    const nowMs = clock.monotonicMs();
    if (nowMs - (this.#found.get(digest) ?? -Infinity) < pinnedForMs) return true;
    const details = await index.details(digest);
    if (details === undefined) return true;
    const { linkedBy, tags } = details;
    const set = this.#set;
    const isPinned =
      Math.max(linkedBy.length, tags.length) >= mostDetails ||
      linkedBy.some((one) => set.hasRepository(repositoryKey(one))) ||
      tags.some(({ repositoryId, tag }) => set.hasTag(repositoryKey(repositoryId), tag));
    if (isPinned) this.#found.set(digest, nowMs);
    return isPinned;
  }

  /** How much it adds is estimated first: only if that is too much, all is measured. */
  async #bytesWith(pin: Pin, waiting: Waiting): Promise<number | PinRefusal> {
    const { index, maxBytes } = this.#deps;
    if (!(await index.isComplete())) return 'unknown';
    const added = await this.#bytesOf([pin], waiting);
    if (added === undefined) return 'unknown';
    const mostBytes = maxBytes * mostShare - (await index.totals()).keptBytes;
    if (this.#bytes + added <= mostBytes) return this.#bytes + added;
    const all = await this.#bytesOf([...this.#pins.values(), pin], waiting);
    if (all === undefined) return 'unknown';
    return all > mostBytes ? 'too-much' : all;
  }

  #bytesOf(pins: readonly Pin[], waiting: Waiting): Promise<number | undefined> {
    const digests = pins.flatMap(({ digest }) => digest ?? []);
    return pinnedBytes(new PinSet(pins), digests, { ...this.#deps, ...waiting });
  }

  async #measure(waiting: Waiting): Promise<void> {
    this.#bytes = (await this.#bytesOf([...this.#pins.values()], waiting)) ?? this.#bytes;
  }

  async #keep(pins: ReadonlyMap<string, KeptPin>): Promise<void> {
    const saved = [...pins.values()].map(({ text, atMs }) => ({ pin: text, atMs }));
    await this.#deps.save(JSON.stringify({ version: 1, pins: saved }));
    this.#use(pins);
  }

  #use(pins: ReadonlyMap<string, KeptPin>): void {
    this.#pins = pins;
    this.#set = new PinSet(pins.values());
    this.#found.clear();
    this.version += 1;
  }
}

function savedPins(saved: unknown): readonly KeptPin[] | undefined {
  if (typeof saved !== 'object' || saved === null || !('version' in saved) || !('pins' in saved)) return undefined;
  if (saved.version !== 1 || !Array.isArray(saved.pins)) return undefined;
  const pins = saved.pins.map((one: unknown) => {
    if (typeof one !== 'object' || one === null || !('pin' in one) || !('atMs' in one)) return undefined;
    const pin = typeof one.pin === 'string' ? parsePin(one.pin) : undefined;
    return pin && typeof one.atMs === 'number' ? { ...pin, atMs: one.atMs } : undefined;
  });
  const known = pins.filter((one) => one !== undefined);
  return known.length === pins.length && known.length <= mostPins ? known : undefined;
}
