import type { RequestedRange } from '../../oci/range.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { NotStored } from '../downloads/run.ts';
import type { JoinedRelay, Part, Relays } from '../relays/relays.ts';
import { withheldBytes } from '../transfers/withheld-tail.ts';
import type { BlobLinks } from '../access/links.ts';
import type { Manifests } from '../manifests/manifests.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Waiting } from '../ports/waiting.ts';
import { Remembered } from '../concurrency/remembered.ts';
import { type BlobHead, type BlobQuestion, blobName, type ServedBlob } from './served-blob.ts';
import type { UpstreamBlobs } from './upstream-blobs.ts';
import type { Space } from '../eviction/space.ts';
import { type JoinSpan, spansOf, SpansSource } from './relayed-spans.ts';

export interface UnstoredBlobsDeps {
  readonly relays: Relays;
  readonly space: Pick<Space, 'couldHold'>;
  readonly manifests: { readonly promisedSizes: Pick<Manifests['promisedSizes'], 'get'> };
  readonly links: Pick<BlobLinks, 'confirm'>;
  readonly clock: Clock;
  readonly observer: Observer;
  /** A HEAD of the blob. */
  readonly head: (question: BlobQuestion, waiting: Waiting) => Promise<BlobHead>;
  readonly upstreamBlobs: Pick<UpstreamBlobs, 'remote'>;
}

/** What is known about a blob that is relayed. */
export interface Relayed extends Waiting, Partial<Pick<NotStored, 'takeOpened' | 'blob'>> {
  /** Of the whole blob, where it is known. */
  readonly size?: number | undefined;
  /** Whether this repository is known to have the blob: then it may join a relay that another repository of the upstream started. */
  readonly isLinked: boolean;
}

interface NoRoom {
  readonly size: number | undefined;
  /** Whether it was being stored and then outgrew the store. */
  readonly isOverrun: boolean;
}

/** By then other content may have been evicted. */
const noRoomForMs = 10_000;
/** A blob that filled the store once would fill it again, and evict newer content. */
const overrunForMs = 60_000;
/** If the store could not hold a blob of this size, a HEAD asks for the size before a range is served. */
const ordinaryBlobBytes = 64 * 1024 * 1024;
const collapsed: CacheStatus = { word: 'collapsed', upstreamStatus: 200 };
const notStored: CacheStatus = { word: 'miss', upstreamStatus: 200 };

/** Serves blobs without storing them: those that the store has no room for, and those that the disk fails to read. */
export class UnstoredBlobs {
  readonly #deps: UnstoredBlobsDeps;
  /** Blobs that recently did not fit, by {@link blobName}. */
  readonly lacking: Remembered<NoRoom>;

  constructor(deps: UnstoredBlobsDeps) {
    this.#deps = deps;
    this.lacking = new Remembered({ clock: deps.clock, max: 10_000 });
  }

  /** Remembers that there was no room for the blob when its download began. */
  rememberNoRoom(question: BlobQuestion, size: number | undefined): void {
    this.lacking.remember(blobName(question), { size, isOverrun: false }, noRoomForMs);
  }

  /** Remembers that the blob outgrew the store while it was downloaded. */
  rememberOverrun(question: BlobQuestion, size: number | undefined): void {
    this.lacking.remember(blobName(question), { size, isOverrun: true }, overrunForMs);
  }

  /** Relays the blob if the store has no room for it. @returns undefined when it may be stored. */
  async openWithoutRoom(question: BlobQuestion, relayed: Omit<Relayed, 'size'>): Promise<ServedBlob | undefined> {
    const size = await this.#sizeOf(question, relayed);
    const wanted = size === undefined ? 'whole' : (question.partOf?.(size) ?? 'whole');
    if (size !== undefined && wanted === 'unsatisfiable') return this.#nothingOf(question, size, relayed);
    const lacking = this.lacking.get(blobName(question));
    const isLacking = lacking !== undefined && (lacking.isOverrun || wanted !== 'whole');
    if (!isLacking) {
      if (size === undefined || (await this.#couldHold(size))) return undefined;
      this.rememberNoRoom(question, size);
    }
    return this.relay(question, { ...relayed, size });
  }

  /** Relays the blob, from one upstream request for all clients that ask for the same bytes at the same time. */
  async relay(question: BlobQuestion, relayed: Relayed): Promise<ServedBlob> {
    const { repositoryId, digest, partOf } = question;
    const { relays, links, observer, upstreamBlobs, manifests } = this.#deps;
    const { signal, isLinked } = relayed;
    const known = relayed.size ?? manifests.promisedSizes.get(blobName(question));
    const wanted = known === undefined ? 'whole' : (partOf?.(known) ?? 'whole');
    if (known !== undefined && wanted === 'unsatisfiable') return this.#nothingOf(question, known, relayed);
    const { blob = upstreamBlobs.remote(question) } = relayed;
    const request = { repositoryId, digest, isLinked, blob, size: known };
    const join = (part: Part | undefined, needsRanges: boolean) => {
      const takeOpened = part ? undefined : relayed.takeOpened;
      return relays.join({ ...request, part, needsRanges, takeOpened }, { signal });
    };
    const joined = await joinWanted(wanted, known, join);
    const { size } = joined;
    if (known === undefined && size !== undefined && isPart(partOf?.(size) ?? 'whole', size)) {
      await joined.source[Symbol.asyncDispose]();
      return this.relay(question, { signal, isLinked, size });
    }
    const { firstServedAtMs } = links.confirm(repositoryId, digest);
    await unlessWrong(joined, signal);
    if (joined.isShared) observer.collapsed({ kind: 'blob' });
    const cache = joined.isShared ? collapsed : notStored;
    return { digest, size, source: joined.source, cache, firstServedAtMs, isSequential: false };
  }

  /** If a part is wanted of a blob that may not fit, a HEAD asks for its size first, so that only the part is fetched. */
  async #sizeOf(question: BlobQuestion, { signal }: Waiting): Promise<number | undefined> {
    const { partOf } = question;
    const known =
      this.#deps.manifests.promisedSizes.get(blobName(question)) ?? this.lacking.get(blobName(question))?.size;
    if (known !== undefined || !partOf || (await this.#couldHold(ordinaryBlobBytes))) return known;
    return (await this.#deps.head(question, { signal })).size;
  }

  /** A disk that cannot say how full it is counts as having room: storing then fails, and is handled there. */
  async #couldHold(bytes: number): Promise<boolean> {
    return this.#deps.space.couldHold(bytes).catch(() => true);
  }

  /** For a range outside of the blob: a HEAD asks the upstream whether the blob exists, and no bytes are fetched. */
  async #nothingOf(question: BlobQuestion, size: number, { signal }: Waiting): Promise<ServedBlob> {
    const { cache, firstServedAtMs } = await this.#deps.head(question, { signal });
    const source = { read: async () => 0, [Symbol.asyncDispose]: async () => {} };
    return { digest: question.digest, size, source, cache, firstServedAtMs, isSequential: false };
  }
}

/** Asks the upstream for no more than the wanted ranges need. */
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

/** Whether a part is the whole blob: then it is verified, while a smaller part cannot be. */
function isAll({ start, end }: Part, size: number | undefined): boolean {
  return start === 0 && end + 1 === size;
}

/** Waits until a small or empty blob is verified: before headers are sent, a failure can still be answered with its status. */
export async function unlessWrong({ size, source, settled }: JoinedRelay, signal: AbortSignal): Promise<void> {
  if (size === undefined || size > withheldBytes) return;
  try {
    await abortable(settled, signal);
  } catch (cause) {
    await source[Symbol.asyncDispose]();
    throw cause;
  }
}
