import type { RequestedRange } from '../../oci/range.ts';
import type { BlobHead } from '../blobs.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { NotStored } from '../downloads/not-stored.ts';
import type { JoinedRelay, Part, Relays } from '../downloads/relays.ts';
import { heldBackBytes } from '../held-back.ts';
import type { BlobLinks } from '../links.ts';
import type { Manifests } from '../manifests.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Waiting } from '../ports/waiting.ts';
import { Remembered } from '../remembered.ts';
import { type BlobQuestion, nameOf, openerOf, type ServedBlob } from '../served-blob.ts';
import type { Space } from '../space.ts';
import { type JoinSpan, spansOf, SpansSource } from './relayed-spans.ts';

export interface UnstoredBlobsDeps {
  readonly relays: Relays;
  readonly space: Pick<Space, 'couldHold'>;
  readonly manifests: Pick<Manifests, 'promisedSize'>;
  readonly links: Pick<BlobLinks, 'confirm'>;
  readonly clock: Clock;
  readonly observer: Observer;
  /** A HEAD of the blob. */
  readonly head: (question: BlobQuestion, waiting: Waiting) => Promise<BlobHead>;
  /** Runs a question to the upstream, and remembers its 404. */
  readonly asking: <Value>(question: BlobQuestion, ask: () => Promise<Value>) => Promise<Value>;
}

/** What is known of a blob that is relayed. */
export interface Relayed extends Waiting, Partial<Pick<NotStored, 'takeOpened'>> {
  /** Of the whole blob, where it is known. */
  readonly size?: number | undefined;
  /** Whether this repository is known to have it: then it shares what another repository of the upstream asked for. */
  readonly isLinked: boolean;
}

interface LackOfRoom {
  readonly size: number | undefined;
  /** Whether it began to be stored, and then grew too large. */
  readonly isOverrun: boolean;
}

/** Other blobs may have gone by then. */
const noRoomForMs = 10_000;
/** What filled the store once would fill it again, and evict what came meanwhile. */
const overrunForMs = 60_000;
/** A store that could not hold this much relays parts of blobs whose size it does not know yet. */
const ordinaryBlobBytes = 64 * 1024 * 1024;
const collapsed: CacheStatus = { word: 'collapsed', upstreamStatus: 200 };
const notStored: CacheStatus = { word: 'miss', upstreamStatus: 200 };

/** Blobs that are served without being stored: those that there is no room for, and those that the disk fails to read. */
export class UnstoredBlobs {
  readonly #deps: UnstoredBlobsDeps;
  /** What there was no room for a moment ago. */
  readonly #lacking: Remembered<LackOfRoom>;

  constructor(deps: UnstoredBlobsDeps) {
    this.#deps = deps;
    this.#lacking = new Remembered({ clock: deps.clock, max: 10_000 });
  }

  /** There was no room for it when its download began. */
  noteNoRoom(question: BlobQuestion, size: number | undefined): void {
    this.#lacking.remember(nameOf(question), { size, isOverrun: false }, noRoomForMs);
  }

  /** The store had no room for the rest of it. */
  noteOverrun(question: BlobQuestion, size: number | undefined): void {
    this.#lacking.remember(nameOf(question), { size, isOverrun: true }, overrunForMs);
  }

  /** @returns undefined where it may be stored. */
  async openWithoutRoom(question: BlobQuestion, relayed: Omit<Relayed, 'size'>): Promise<ServedBlob | undefined> {
    const size = await this.#sizeOf(question, relayed);
    const wanted = size === undefined ? 'whole' : (question.partOf?.(size) ?? 'whole');
    if (size !== undefined && wanted === 'unsatisfiable') return this.#nothingOf(question, size, relayed);
    const lacking = this.#lacking.get(nameOf(question));
    const isLacking = lacking !== undefined && (lacking.isOverrun || wanted !== 'whole');
    if (!isLacking) {
      if (size === undefined || (await this.#couldHold(size))) return undefined;
      this.noteNoRoom(question, size);
    }
    return this.relay(question, { ...relayed, size });
  }

  /** From one upstream request for all who ask for the same at this time. */
  async relay(question: BlobQuestion, relayed: Relayed): Promise<ServedBlob> {
    const { of, digest, partOf } = question;
    const { relays, links, observer, asking, manifests } = this.#deps;
    const { signal, isLinked } = relayed;
    const known = relayed.size ?? manifests.promisedSize(of, digest);
    const wanted = known === undefined ? 'whole' : (partOf?.(known) ?? 'whole');
    if (known !== undefined && wanted === 'unsatisfiable') return this.#nothingOf(question, known, relayed);
    const onWrong = () => question.upstream.failedVerification(digest);
    const request = { of, digest, isLinked, open: openerOf(question), onWrong, size: known };
    const join = (part: Part | undefined, needsRanges: boolean) => {
      const takeOpened = part ? undefined : relayed.takeOpened;
      return relays.join({ ...request, part, needsRanges, takeOpened }, { signal });
    };
    const joined = await asking(question, () => joinWanted(wanted, known, join));
    const { size } = joined;
    if (known === undefined && size !== undefined && isPart(partOf?.(size) ?? 'whole', size)) {
      await joined.source[Symbol.asyncDispose]();
      return this.relay(question, { signal, isLinked, size });
    }
    const { firstServedAtMs } = links.confirm(of, digest);
    await unlessWrong(joined, signal);
    if (joined.isShared) observer.collapsed({ kind: 'blob' });
    const cache = joined.isShared ? collapsed : notStored;
    return { digest, size, source: joined.source, cache, firstServedAtMs, isSequential: false };
  }

  /** A part whose blob may not fit is not looked for in an answer with the whole: its size is asked for first. */
  async #sizeOf(question: BlobQuestion, { signal }: Waiting): Promise<number | undefined> {
    const { of, digest, partOf } = question;
    const known = this.#deps.manifests.promisedSize(of, digest) ?? this.#lacking.get(nameOf(question))?.size;
    if (known !== undefined || !partOf || (await this.#couldHold(ordinaryBlobBytes))) return known;
    return (await this.#deps.head(question, { signal })).size;
  }

  /** A disk that does not say how full it is, is found out by who stores something. */
  async #couldHold(bytes: number): Promise<boolean> {
    return this.#deps.space.couldHold(bytes).catch(() => true);
  }

  /** For a part that the blob does not have: its upstream is asked whether there is such a blob, and for nothing of it. */
  async #nothingOf(question: BlobQuestion, size: number, { signal }: Waiting): Promise<ServedBlob> {
    const { cache, firstServedAtMs } = await this.#deps.head(question, { signal });
    const source = { read: async () => 0, [Symbol.asyncDispose]: async () => {} };
    return { digest: question.digest, size, source, cache, firstServedAtMs, isSequential: false };
  }
}

/** Asks for as little as what is wanted can be taken from. */
function joinWanted(
  wanted: RequestedRange,
  size: number | undefined,
  join: (part: Part | undefined, needsRanges: boolean) => Promise<JoinedRelay>,
): Promise<JoinedRelay> {
  const joinSpan: JoinSpan = (span, { needsRanges }) => join(isAll(span, size) ? undefined : span, needsRanges);
  if (typeof wanted === 'string') return join(undefined, false);
  if ('ranges' in wanted) return new SpansSource(spansOf(wanted.ranges), joinSpan).begin();
  return joinSpan(wanted, { needsRanges: false });
}

function isPart(wanted: RequestedRange, size: number): boolean {
  return typeof wanted === 'object' && ('ranges' in wanted || !isAll(wanted, size));
}

/** All of a blob is verified, a part is not. */
function isAll({ start, end }: Part, size: number | undefined): boolean {
  return start === 0 && end + 1 === size;
}

/** Small blobs, and the empty one, are verified first: they can still fail honestly. */
async function unlessWrong({ size, source, settled }: JoinedRelay, signal: AbortSignal): Promise<void> {
  if (size === undefined || size > heldBackBytes) return;
  try {
    await abortable(settled, signal);
  } catch (cause) {
    await source[Symbol.asyncDispose]();
    throw cause;
  }
}
