import type { Digest } from '../../oci/digest.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import { isSameRepository, type RepositoryId } from '../ports/repository-id.ts';
import type { SharedWorkTracing } from '../ports/tracing.ts';
import type { Waiting } from '../ports/waiting.ts';
import { CommitOnce, commitBlob, type BlobRecording, recordBlob } from './commit.ts';
import { Download } from './download.ts';
import { type PaceRules, abandonedToEnd, slotLimits } from './slots.ts';
import { type DownloadOrder, Run, type RunningDownload, type Runs, type Started } from './run.ts';
import { Scheduler } from './scheduler.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { RelayRules } from '../relays/relay-options.ts';
import type { DownloadEnd } from '../transfers/transfer-errors.ts';
import { openSources, openWhole, reserveSpace, type ReservableSpace } from './begin-download.ts';

export interface DownloadsDeps extends Omit<DownloadSteps, 'scheduler' | 'commits' | 'runs' | 'observer'> {
  readonly clock: Pick<Clock, 'now' | 'monotonicMs'>;
  readonly observer: DownloadSteps['observer'] & Pick<Observer, 'downloadsWaiting' | 'downloadEnded'>;
  readonly maxConcurrent: number;
  /** How many downloads may continue after all their clients have left. */
  readonly maxAbandoned: number;
  /** The maximum of queued downloads per upstream. */
  readonly maxWaiting: number;
  readonly pace: PaceRules;
  readonly tracing?: SharedWorkTracing | undefined;
}

/**
 * All downloads, from their request to their end: at most one for a digest of one upstream, a bounded number of each upstream and in all (see
 * scheduler.ts). Upstreams share verified bytes only: what one of them sends, or fails to send, does not reach the clients of another.
 */
export class Downloads implements Runs {
  readonly #deps: DownloadsDeps;
  readonly #scheduler: Scheduler;
  readonly #steps: DownloadSteps;
  /** A download leaves the map only when its blob is visible, so that no second one can slip in between. */
  readonly #joinable = new Map<string, Run>();
  readonly #beginning = new Set<Run>();
  /** In the order they began. */
  readonly #running = new Map<Download, Run>();
  #isStopping = false;

  constructor(deps: DownloadsDeps) {
    this.#deps = deps;
    const { maxConcurrent, maxWaiting: maxWaitingPerUpstream } = deps;
    this.#scheduler = new Scheduler({ ...deps, limits: slotLimits(maxConcurrent), maxWaitingPerUpstream });
    this.#steps = { ...deps, scheduler: this.#scheduler, commits: new CommitOnce(), runs: this };
  }

  /** The download of a digest from one upstream. */
  find(upstream: string, digest: Digest): Run | undefined {
    const run = this.#joinable.get(downloadKey(upstream, digest));
    return run?.isJoinable ? run : undefined;
  }

  /** What is being downloaded, in the order in which it began. */
  running(): readonly RunningDownload[] {
    return [...this.#running].map(([{ digest, size, receivedBytes }, { order }]) => ({
      repositoryId: order.repositoryId,
      digest,
      receivedBytes,
      size,
    }));
  }

  /** Starts a download. The caller has seen that none is running for the digest and this upstream. */
  start(order: DownloadOrder): Run {
    const run = new Run(order);
    run.begunBy = this.#deps.tracing?.active();
    this.#joinable.set(keyOfRun(run), run);
    this.#beginning.add(run);
    void this.#run(run);
    return run;
  }

  /**
   * Waits for a download to begin. The caller must join it in the same turn of the event loop.
   * @throws the failure of the start; the signal's reason.
   */
  async wait(run: Run, { signal }: Waiting): Promise<Started> {
    run.waiters += 1;
    try {
      return await abortable(run.started, signal);
    } finally {
      if (run.download) setImmediate(() => this.#waiterLeft(run));
      else this.#waiterLeft(run);
    }
  }

  /**
   * As {@link wait}, for a client of `repositoryId` that joins a download which another client started.
   * @returns undefined if it was started for another repository and failed to start.
   */
  async join(run: Run, repositoryId: RepositoryId, { signal }: Waiting): Promise<Started | undefined> {
    this.#deps.tracing?.link(run.begunBy);
    try {
      return await this.wait(run, { signal });
    } catch (cause) {
      if (signal.aborted || isSameRepository(run.order.repositoryId, repositoryId)) throw cause;
      return undefined;
    }
  }

  /** Cancels queued and abandoned downloads and waits for the rest; cancels those too when the signal aborts. */
  async stop({ signal }: Waiting): Promise<void> {
    this.#isStopping = true;
    for (const run of this.#beginning) run.end(stopping());
    const cut = () => {
      for (const download of this.#running.keys()) download.abort(stopping());
    };
    signal.addEventListener('abort', cut, { once: true });
    if (signal.aborted) cut();
    for (const download of this.#running.keys()) if (download.isAbandoned) download.abort(stopping());
    while (this.#beginning.size + this.#running.size > 0)
      await Promise.all([...this.#beginning, ...this.#running.values()].map((run) => run.ended));
    signal.removeEventListener('abort', cut);
  }

  began(run: Run, download: Download): void {
    this.#beginning.delete(run);
    this.#running.set(download, run);
    // Waiters join in this turn of the event loop; clients that left before it began were never readers.
    setImmediate(() => this.readersLeft());
  }

  /** New clients of other upstreams that are still downloading this blob are served from the store. */
  stored({ order }: Run): void {
    for (const [key, other] of this.#joinable) {
      const isOtherUpstream = other.order.repositoryId.upstream !== order.repositoryId.upstream;
      if (other.order.digest === order.digest && isOtherUpstream) this.#joinable.delete(key);
    }
  }

  /** A download without readers may have to yield to one that has some. */
  readersLeft(): void {
    this.#scheduler.settle();
    const abandoned = [...this.#running].flatMap(([download, { label }]) =>
      download.isAbandoned ? [{ download, label }] : [],
    );
    const max = this.#isStopping ? 0 : this.#deps.maxAbandoned;
    abandonedToEnd(abandoned, max)?.download.abort(
      new UpstreamError('busy', 'cancelled: no clients, and too many such downloads'),
    );
  }

  async #run(run: Run): Promise<void> {
    const { clock, observer } = this.#deps;
    try {
      if (this.#isStopping) throw stopping();
      const ended = await downloadBlob(run, this.#steps);
      this.#remove(run);
      if (!ended) return;
      const { startedAtMs, ...end } = ended;
      observer.downloadEnded({ upstream: run.label, ...end, durationMs: clock.monotonicMs() - startedAtMs });
      run.download?.ends(end);
    } catch (cause) {
      this.#remove(run);
      run.failed(cause);
      if (run.download) this.#failedAtEnd(run.download, cause);
    } finally {
      run.over();
    }
  }

  /** The last step, which frees what the download held, has failed: the download ends anyway, so that nothing waits for it forever. */
  #failedAtEnd(download: Download, cause: unknown): void {
    this.#deps.observer.internalError({ part: 'blob store', cause });
    download.ends({ result: 'disk_error', bytes: download.receivedBytes, cause });
  }

  #remove(run: Run): void {
    this.#beginning.delete(run);
    if (run.download) this.#running.delete(run.download);
    if (this.#joinable.get(keyOfRun(run)) === run) this.#joinable.delete(keyOfRun(run));
  }

  /** A queued download without waiters does not begin. */
  #waiterLeft(run: Run): void {
    run.waiters -= 1;
    if (run.waiters > 0) return;
    if (run.isUnwanted) run.end(new UpstreamError('busy', 'all clients have left'));
    this.readersLeft();
  }
}

function stopping(): UpstreamError {
  return new UpstreamError('busy', 'the mirror is stopping');
}

function keyOfRun({ order }: Run): string {
  return downloadKey(order.repositoryId.upstream, order.digest);
}

function downloadKey(upstream: string, digest: Digest): string {
  return `${upstream}@${digest}`;
}

export interface DownloadSteps {
  readonly store: Pick<BlobStore, 'open' | 'create' | 'takePartial'>;
  readonly space: ReservableSpace;
  readonly recording: BlobRecording;
  readonly relaying: RelayRules;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly observer: Pick<Observer, 'downloadStarted' | 'internalError'>;
  readonly scheduler: Pick<Scheduler, 'enter'>;
  readonly commits: CommitOnce;
  readonly runs: Runs;
}

export interface EndedDownload extends DownloadEnd {
  /** By the monotonic clock. */
  readonly startedAtMs: number;
}

/**
 * One download: open sources → reserve space → write and hash → verify → commit → record. Clients join it once space is reserved. What fails
 * after the blob is verified costs them nothing.
 * @returns undefined if the store has no room: then the sources' answer is relayed.
 * @throws what opening the sources throws.
 */
async function downloadBlob(run: Run, steps: DownloadSteps): Promise<EndedDownload | undefined> {
  const { order } = run;
  const { digest } = order;
  await using held = new AsyncDisposableStack();
  const ticket = held.use(steps.scheduler.enter(run));
  const opening = await openSources(run, ticket, steps);
  const reserved = await reserveSpace(order, opening, steps);
  if (!reserved) {
    run.beganUnstored(opening.size, await openWhole(opening, run, steps));
    return undefined;
  }
  const room = held.use(reserved.room);
  const turn = held.use(steps.commits.join(digest));
  const { watch } = steps.space;
  const parts = { ...steps, ...steps.relaying, ...order, ...opening, ...reserved, room, ticket, watch };
  const download = held.use(new Download(parts));
  const startedAtMs = steps.clock.monotonicMs();
  steps.observer.downloadStarted({ upstream: order.label });
  steps.runs.began(run, download);
  run.began(download, opening.opened);
  try {
    await download.writeAndHash(opening.opened);
    download.verify();
    const keep = async () => {
      const how = await commitBlob(turn, { digest, incoming: reserved.incoming }, steps);
      steps.runs.stored(run);
      await recordBlob(order, { size: download.receivedBytes, how }, steps.recording);
    };
    await steps.space.watch.outlast(keep(), () => ticket[Symbol.dispose]());
    return { result: 'ok', bytes: download.receivedBytes, startedAtMs };
  } catch (cause) {
    return { ...(await download.fail(cause)), startedAtMs };
  }
}
