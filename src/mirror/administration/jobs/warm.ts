import type { Digest } from '../../../oci/digest.ts';
import { type ImageName, imageText } from '../../../oci/image-name.ts';
import { abortable } from '../../concurrency/abortable-wait.ts';
import type { Waiting } from '../../ports/waiting.ts';
import { pause, type Wait } from './fetch-content.ts';
import { JobProblems } from './job-problems.ts';
import type { Work } from './jobs.ts';
import { type WarmChoice, warmImage, type WarmImageDeps } from './warm-image.ts';
import { ImageReport, type WarmedImage, type WarmProblem } from './warm-report.ts';

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

export interface WarmDeps extends Pick<WarmImageDeps, 'mirror' | 'areFewPullsLeft' | 'turns'> {
  /** Resolves when what was pulled is written. */
  readonly written: () => Promise<void>;
  /** What the store may hold: `storage.maxSize`. */
  readonly maxBytes: number;
  /** For tests. */
  readonly wait?: Wait;
}

/** Images of one job at the same time. */
const imagesAtOnce = 2;

/** Fetches images before clients ask for them. */
export class Warm {
  readonly #deps: WarmDeps;

  constructor(deps: WarmDeps) {
    this.#deps = deps;
  }

  begin({ images, ...choice }: WarmOrder, waiting: Waiting): Work<WarmProgress> {
    const problems = new JobProblems<WarmProblem>();
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
    const { mirror, areFewPullsLeft, turns, maxBytes, written, wait = pause } = this.#deps;
    const isTooMuch = withinBytes(maxBytes);
    const [left, failing] = [reports.values(), new AbortController()];
    const ending = AbortSignal.any([signal, failing.signal]);
    const slowUpstreams = new Set<string>();
    const parts = { mirror, areFewPullsLeft, isTooMuch, wait, signal: ending, turns, slowUpstreams };
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
}

/** One image that ends by a bug ends the job. */
function failed(failing: AbortController): (cause: unknown) => never {
  return (cause) => {
    failing.abort(cause);
    throw cause;
  };
}

/** Digests that are known to be counted. Beyond this, what several images share counts for each of them. */
const mostCounted = 100_000;

/** Tells of each blob whether it is beyond so many bytes, together with those that were asked about before. */
function withinBytes(maxBytes: number): WarmImageDeps['isTooMuch'] {
  const counted = new Set<Digest>();
  let bytes = 0;
  return ({ digest, size }) => {
    if (counted.has(digest)) return false;
    if (bytes + size > maxBytes) return true;
    if (counted.size < mostCounted) counted.add(digest);
    bytes += size;
    return false;
  };
}
