import { setTimeout as sleep } from 'node:timers/promises';
import pLimit, { type LimitFunction } from 'p-limit';
import type { Digest } from '../../../oci/digest.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import { abortable } from '../../concurrency/abortable-wait.ts';
import type { LocatedRepository, Mirror } from '../../mirror.ts';
import type { Upstream } from '../../ports/upstream.ts';
import type { Waiting } from '../../ports/waiting.ts';
import { detailOf } from './job-problems.ts';
import { type Arriving, reasonOfEnd, type WarmReason } from './warm-report.ts';

/** Resolves after `ms`. @throws when the signal aborts before. */
export type Wait = (ms: number, waiting: Waiting) => Promise<unknown>;

export const pause: Wait = (ms, { signal }) => sleep(ms, undefined, { signal });

/** How often what the mirror has no place for is asked for. */
const attemptsWhileBusy = 4;
const usualPauseMs = 2_000;
/** For the headers of a blob, or all of something small: the mirror itself gives an upstream up earlier. */
const answersWithinMs = 120_000;

/** Asks the mirror, and asks again after a while if it has no place for it now. @throws what the mirror throws; the signal's reason. */
export async function asked<Value>(
  ask: (waiting: Waiting) => Promise<Value>,
  { signal, wait }: Waiting & { readonly wait: Wait },
): Promise<Value> {
  for (let attempt = 1; ; attempt += 1) {
    signal.throwIfAborted();
    try {
      return await inTime(ask, signal);
    } catch (cause) {
      const isBusy = cause instanceof UpstreamError && cause.reason === 'busy';
      if (!isBusy || attempt === attemptsWhileBusy) throw cause;
      await wait((cause.retryAfterSeconds ?? 0) * 1_000 || usualPauseMs, { signal });
    }
  }
}

/** Nothing is left of the wait when it is over: a job asks for thousands of contents. */
async function inTime<Value>(ask: (waiting: Waiting) => Promise<Value>, signal: AbortSignal): Promise<Value> {
  const leaving = new AbortController();
  const leave = () => leaving.abort(signal.reason);
  const late = () => leaving.abort(new UpstreamError('timeout', 'no answer came in time'));
  const timer = setTimeout(late, answersWithinMs).unref();
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await ask(leaving);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', leave);
  }
}

/** What has become of a blob that is to be stored. */
export type BlobOutcome =
  | { readonly kind: 'present' | 'fetched'; readonly bytes: number | undefined }
  | { readonly kind: 'failed'; readonly reason: WarmReason; readonly detail: string };

export interface StoreBlobParts extends Waiting {
  readonly mirror: Pick<Mirror, 'blob'>;
  /** For the answer, without the body. */
  readonly soon: Waiting;
  /** A download is being waited for. @returns a function that is called when it has ended. */
  readonly onArriving?: (blob: Arriving) => () => void;
}

/**
 * Waits until a blob is stored, as a client that reads nothing of it: as long as its source is open, the download has a client.
 * @throws what the mirror throws; UpstreamError when the download had to yield; the signal's reason.
 */
export async function storeBlob(
  located: LocatedRepository,
  digest: Digest,
  { mirror, signal, soon, onArriving = () => () => {} }: StoreBlobParts,
): Promise<BlobOutcome> {
  const blob = await mirror.blob(located, digest, soon);
  await using _ = blob.source;
  const { cache, ended, size, receivedBytes = () => 0 } = blob;
  if (!ended) {
    if (cache.word === 'hit' || cache.stored === true) return { kind: 'present', bytes: size };
    const isUnreadable = blob.ignoresRange === true;
    const detail = isUnreadable ? 'the disk cannot read it' : 'the store has no room for it';
    return { kind: 'failed', reason: isUnreadable ? 'disk' : 'no-room', detail };
  }
  const arrived = onArriving({ receivedBytes });
  try {
    const end = await abortable(ended, signal);
    if (end.result === 'ok') return { kind: 'fetched', bytes: end.bytes };
    if (end.result === 'aborted') throw end.cause;
    const detail = `the download ended: ${detailOf(end.cause ?? end.result)}`;
    return { kind: 'failed', reason: reasonOfEnd(end), detail };
  } finally {
    arrived();
  }
}

/** Blobs of one upstream at the same time. */
const blobsOfUpstream = 4;

/** Whose turn it is to fetch a blob: all jobs together take at most a quarter of the downloads, and of the connections to an upstream. */
export class BlobTurns {
  readonly #all: LimitFunction;
  /** By the upstream's label. */
  readonly #ofUpstream = new Map<string, LimitFunction>();

  /** @param options.maxConcurrent how many downloads run at the same time: `download.maxConcurrent`. */
  constructor({ maxConcurrent }: { readonly maxConcurrent: number }) {
    this.#all = pLimit(quarterOf(maxConcurrent));
  }

  /** Waits for a turn among the blobs of the upstream, then among those of all. @throws the signal's reason; what `work` throws. */
  async run<Value>(
    { label, maxConnections }: Pick<Upstream, 'label' | 'maxConnections'>,
    work: () => Promise<Value>,
    { signal }: Waiting,
  ): Promise<Value> {
    const atOnce = Math.min(blobsOfUpstream, quarterOf(maxConnections));
    const ofUpstream = this.#ofUpstream.get(label) ?? pLimit(atOnce);
    this.#ofUpstream.set(label, ofUpstream);
    ofUpstream.concurrency = atOnce; // A reload may have changed it.
    const begun = Promise.withResolvers<void>();
    const ended = ofUpstream(() => {
      signal.throwIfAborted();
      return this.#all(() => {
        signal.throwIfAborted();
        begun.resolve();
        return work();
      });
    });
    // Other jobs may hold all turns for long. Once it has begun, the work itself looks at the signal.
    await abortable(Promise.race([begun.promise, ended]), signal);
    return ended;
  }
}

function quarterOf(all: number): number {
  return Math.max(1, Math.floor(all / 4));
}
