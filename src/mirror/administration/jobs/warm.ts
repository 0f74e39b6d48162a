import { setTimeout as sleep } from 'node:timers/promises';
import pLimit, { type LimitFunction } from 'p-limit';
import type { Digest } from '../../../oci/digest.ts';
import { type ImageName, imageText } from '../../../oci/image-name.ts';
import type { Descriptor } from '../../../oci/manifest.ts';
import { abortable } from '../../concurrency/abortable-wait.ts';
import type { Upstream } from '../../ports/upstream.ts';
import type { Waiting } from '../../ports/waiting.ts';
import type { Work } from './jobs.ts';
import { type WarmChoice, warmImage, type WarmImageDeps } from './warm-image.ts';
import { ImageReport, type WarmedImage, type WarmProblem, WarmProblems } from './warm-report.ts';

export interface WarmOrder extends WarmChoice {
  readonly images: readonly ImageName[];
}

export interface WarmProgress {
  readonly kind: 'warm';
  readonly images: readonly WarmedImage[];
  /** The first of them. */
  readonly problems: readonly WarmProblem[];
  /** How many there are. */
  readonly problemCount: number;
}

export interface WarmDeps extends Pick<WarmImageDeps, 'mirror' | 'areFewPullsLeft'> {
  /** Resolves when what was pulled is written. */
  readonly written: () => Promise<void>;
  /** What the store may hold: `storage.maxSize`. */
  readonly maxBytes: number;
  /** How many downloads run at the same time: `download.maxConcurrent`. */
  readonly maxConcurrent: number;
  /** For tests. */
  readonly wait?: WarmImageDeps['wait'];
}

/** Images of one job at the same time. */
const imagesAtOnce = 2;
/** Blobs of one upstream at the same time, over all jobs. */
const blobsOfUpstream = 4;

/**
 * Fetches images before clients ask for them. All jobs together take at most a quarter of the downloads, and of the connections to an
 * upstream: the rest is for clients.
 */
export class Warm {
  readonly #deps: WarmDeps;
  readonly #all: LimitFunction;
  /** By the upstream's label. */
  readonly #ofUpstream = new Map<string, LimitFunction>();

  constructor(deps: WarmDeps) {
    this.#deps = deps;
    this.#all = pLimit(quarterOf(deps.maxConcurrent));
  }

  begin({ images, ...choice }: WarmOrder, waiting: Waiting): Work<WarmProgress> {
    const problems = new WarmProblems();
    const reports = images.map((image) => ({ image, report: new ImageReport(imageText(image), problems) }));
    return {
      progress: () => ({
        kind: 'warm',
        images: reports.map(({ report }) => report.told),
        problems: problems.first,
        problemCount: problems.count,
      }),
      ended: this.#run(reports, choice, waiting),
    };
  }

  async #run(
    reports: readonly { readonly image: ImageName; readonly report: ImageReport }[],
    choice: WarmChoice,
    { signal }: Waiting,
  ): Promise<void> {
    const { mirror, areFewPullsLeft, maxBytes, written, wait = pause } = this.#deps;
    const isTooMuch = withinBytes(maxBytes);
    const [left, failing] = [reports.values(), new AbortController()];
    const ending = AbortSignal.any([signal, failing.signal]);
    const inTurn = this.#inTurn.bind(this);
    const parts = { mirror, areFewPullsLeft, isTooMuch, wait, signal: ending, inTurn };
    const oneAfterAnother = async (): Promise<void> => {
      for (const { image, report } of left) await warmImage(image, choice, { ...parts, report });
    };
    try {
      const lines = Array.from({ length: imagesAtOnce }, oneAfterAnother);
      const ended = await Promise.allSettled(lines.map((line) => line.catch(failed(failing))));
      for (const one of ended) if (one.status === 'rejected') throw one.reason;
      await abortable(written(), signal);
    } finally {
      for (const { report } of reports) report.cancelled();
    }
  }

  /** Waits for a turn among the blobs of the upstream, then among those of all. */
  async #inTurn<Value>(upstream: Upstream, work: () => Promise<Value>, { signal }: Waiting): Promise<Value> {
    const { label, maxConnections } = upstream;
    const atOnce = Math.min(blobsOfUpstream, quarterOf(maxConnections));
    const ofUpstream = this.#ofUpstream.get(label) ?? pLimit(atOnce);
    this.#ofUpstream.set(label, ofUpstream);
    ofUpstream.concurrency = atOnce; // A reload may have changed it.
    return ofUpstream(() => {
      signal.throwIfAborted();
      return this.#all(() => {
        signal.throwIfAborted();
        return work();
      });
    });
  }
}

function quarterOf(all: number): number {
  return Math.max(1, Math.floor(all / 4));
}

/** One image that ends by a bug ends the job. */
function failed(failing: AbortController): (cause: unknown) => never {
  return (cause) => {
    failing.abort(cause);
    throw cause;
  };
}

/** Tells of each blob whether it is beyond so many bytes, together with those that were asked about before. */
function withinBytes(maxBytes: number): (blob: Descriptor) => boolean {
  const counted = new Set<Digest>();
  let bytes = 0;
  return ({ digest, size }) => {
    if (counted.has(digest)) return false;
    if (bytes + size > maxBytes) return true;
    counted.add(digest);
    bytes += size;
    return false;
  };
}

function pause(ms: number, { signal }: Waiting): Promise<unknown> {
  return sleep(ms, undefined, { signal });
}
