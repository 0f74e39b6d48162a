import type { Digest } from '../../oci/digest.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import { Download } from './download.ts';
import { isWrong } from './download-end.ts';
import { CommitOnce, type CommitTurn } from './commit-once.ts';
import type { PaceRules } from './pace.ts';
import { abandonedToEnd, placeLimits } from './places.ts';
import { notStored } from './not-stored.ts';
import type { OpenPart } from '../relays/relay-upstream.ts';
import type { RelayRules } from '../relays/relay-options.ts';
import { NoRoom, Room } from './room.ts';
import { Run, type Started } from './run.ts';
import { Scheduler, type Ticket } from './scheduler.ts';
import { giveBack, type Opening, openWhereItStopped } from './going-on.ts';
import type { BlobStore, IncomingBlob, Mark } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { Space } from '../eviction/space.ts';

export interface DownloadsDeps {
  readonly store: BlobStore;
  readonly space: Space;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly maxConcurrent: number;
  /** How many downloads may go on though all their clients have left. */
  readonly maxAbandoned: number;
  /** How many of one upstream may wait in line. */
  readonly maxWaiting: number;
  readonly pace: PaceRules;
  readonly relaying: RelayRules;
}

/** What a download is started with. */
export interface DownloadOrder {
  readonly digest: Digest;
  readonly of: RepositoryId;
  /** The upstream's label. */
  readonly label: string;
  /** How many connections to one of its hosts there may be. */
  readonly maxConnections: number;
  readonly open: OpenPart;
  /** The size by the descriptor that names the blob, where the upstream does not tell. */
  readonly promisedSize: number | undefined;
  /** Called when what came is not what the digest names. Absent: nobody wants to know. */
  readonly onWrong?: () => void;
  /** Records a blob that is visible now: by this download, or before it by one from another upstream. */
  readonly recordKept: (size: number, how: Kept) => Promise<void>;
}

export type Kept = 'committed' | 'stored-already';

/** Where a download is written. */
interface Place {
  readonly room: Room;
  readonly incoming: IncomingBlob;
  /** Of what is there already. */
  readonly mark?: Mark;
}

/**
 * All running downloads: at most one for a digest of one upstream, a bounded number of each upstream and in all (see downloads/scheduler.ts).
 * Upstreams share verified bytes only: what one of them sends, or fails to send, is nothing to the clients of another.
 */
export class Downloads {
  readonly #deps: DownloadsDeps;
  /** A download leaves the map only when its blob is visible, so that no second one can slip in between. */
  readonly #running = new Map<string, Run>();
  /** In the order they began. */
  readonly #active = new Map<Download, DownloadOrder>();
  readonly #commits = new CommitOnce();
  readonly #scheduler: Scheduler;
  /** What has not begun yet. */
  readonly #beginning = new Set<Run>();
  #isStopping = false;

  constructor(deps: DownloadsDeps) {
    this.#deps = deps;
    const { maxConcurrent, maxWaiting: maxWaitingPerUpstream } = deps;
    this.#scheduler = new Scheduler({ ...deps, limits: placeLimits(maxConcurrent), maxWaitingPerUpstream });
  }

  /** The download of a digest from one upstream. */
  running(upstream: string, digest: Digest): Run | undefined {
    return this.#running.get(keyOf(upstream, digest));
  }

  /** Likewise, once the upstream has answered. */
  begun(upstream: string, digest: Digest): Download | undefined {
    for (const [download, { of }] of this.#active)
      if (download.digest === digest && of.upstream === upstream) return download;
    return undefined;
  }

  /** Starts a download. The caller has seen that none is running for the digest and this upstream. */
  start(order: DownloadOrder): Run {
    const { of, digest } = order;
    const key = keyOf(of.upstream, digest);
    const leave = () => {
      if (this.#running.get(key) === run) this.#running.delete(key);
    };
    const run = new Run({
      ...order,
      begin: (one) => this.#begin(order, one),
      onEnding: leave,
      onLeft: (one) => this.#left(one),
    });
    this.#running.set(key, run);
    run.started.then(async (result) => {
      if (result.kind === 'download') {
        // Who waited for it joins in this turn; whoever left before it began has never been a reader.
        setImmediate(() => this.#abandoned());
        await result.download.ended;
      }
      leave();
    }, leave);
    return run;
  }

  /** Ends what has not begun yet, and waits for what runs; once the signal aborts, ends that too. */
  async stop({ signal }: { signal: AbortSignal }): Promise<void> {
    this.#isStopping = true;
    for (const run of this.#beginning) run.end(stopping());
    const cut = () => {
      for (const download of this.#active.keys()) download.abort(stopping());
    };
    signal.addEventListener('abort', cut, { once: true });
    if (signal.aborted) cut();
    for (const download of this.#active.keys()) if (download.isAbandoned) download.abort(stopping());
    await this.#allEnded();
    signal.removeEventListener('abort', cut);
  }

  /** Of what has only begun too: it may be about to write. */
  async #allEnded(): Promise<void> {
    while (this.#beginning.size + this.#active.size > 0) {
      const beginnings = [...this.#beginning].map(({ started }) => started.catch(() => {})); // Told to whoever waits.
      await Promise.all([...beginnings, ...[...this.#active.keys()].map((download) => download.ended)]);
    }
  }

  async #begin(order: DownloadOrder, run: Run): Promise<Started> {
    if (this.#isStopping) throw stopping();
    const ticket = this.#scheduler.enter(run);
    this.#beginning.add(run);
    let started: Started | undefined;
    try {
      await abortable(ticket.admitted, run.signal);
      run.admitted();
      started = await this.#open(order, run, ticket);
      return started;
    } finally {
      this.#beginning.delete(run);
      if (started?.kind !== 'download') ticket.release();
    }
  }

  /** The upstream first, then a place for what it sends: an upstream that is silent holds none that another needs. */
  async #open(order: DownloadOrder, run: Run, ticket: Ticket): Promise<Started> {
    const { store } = this.#deps;
    const openAt = (position: number) => order.open(position, undefined, { signal: run.signal });
    const from = { ...order, upstream: order.of.upstream, store, openAt };
    const opening = await run.asking(() => openWhereItStopped(from));
    await abortable(ticket.answered(), run.signal).catch((cause: unknown) => discard(opening, cause));
    const place = await this.#placeFor(order, opening);
    if (!place) return notStored(opening.size, await wholeOf(opening, openAt));
    const download = this.#launch(order, { ...opening, ...place }, ticket);
    run.launched(download);
    return { kind: 'download', download };
  }

  /** Who has left waits in line no longer, and what they alone wanted may yield. */
  #left(run: Run): void {
    if (run.isUnwanted) run.end(new UpstreamError('busy', 'all clients have left'));
    this.#abandoned();
  }

  #abandoned(): void {
    this.#scheduler.settle();
    const abandoned = [...this.#active].flatMap(([download, { label }]) =>
      download.isAbandoned ? [{ download, label }] : [],
    );
    const max = this.#isStopping ? 0 : this.#deps.maxAbandoned;
    abandonedToEnd(abandoned, max)?.download.abort(
      new UpstreamError('busy', 'this download has no clients left and has to yield'),
    );
  }

  /** Where the blob is written, and room for the first of what is missing of it. */
  async #placeFor({ digest, of }: DownloadOrder, { size, interrupted }: Opening): Promise<Place | undefined> {
    const { space, store } = this.#deps;
    const claimedBytes = size === undefined ? undefined : size - (interrupted?.mark.bytes ?? 0);
    const room = new Room({ space, claimedBytes });
    try {
      if (claimedBytes !== undefined && !(await space.couldHold(claimedBytes))) return undefined;
      await room.makeFor(Math.min(1, claimedBytes ?? 1));
      return { room, ...(interrupted ?? { incoming: await store.create(digest, of.upstream) }) };
    } catch (cause) {
      // A disk that cannot say how full it is, or takes no file, keeps nobody from being served.
      if (!(cause instanceof NoRoom)) this.#deps.observer.trouble({ part: 'blob store', cause });
      room.release();
      return undefined;
    }
  }

  #launch(order: DownloadOrder, parts: Place & Pick<Opening, 'opened' | 'size'>, ticket: Ticket): Download {
    const { digest, label: upstream, open, recordKept } = order;
    const { observer, clock } = this.#deps;
    const turn = this.#commits.join(digest);
    const startedAtMs = clock.monotonicMs();
    const download = new Download({
      digest,
      size: parts.size,
      opened: parts.opened,
      open,
      onWrong: order.onWrong,
      ...this.#deps.relaying,
      incoming: parts.incoming,
      mark: parts.mark,
      onDamaged: (cause) => observer.trouble({ part: 'blob store', cause }),
      makeRoom: (bytes) => parts.room.makeFor(bytes),
      onWritten: (bytes) => {
        parts.room.wrote(bytes);
        ticket.received(bytes);
      },
      onAbandoned: () => this.#abandoned(),
      keep: async ({ size }) => {
        await recordKept(size, await this.#commitInTurn(order, parts.incoming, turn));
      },
    });
    this.#active.set(download, order);
    observer.downloadStarted({ upstream });
    void download.ended.then((end) => {
      this.#active.delete(download);
      if (isWrong(end.result)) order.onWrong?.();
      turn.leave();
      parts.room.release();
      ticket.release();
      observer.downloadEnded({ upstream, ...end, durationMs: clock.monotonicMs() - startedAtMs });
    });
    return download;
  }

  /** Once it is stored, clients of the other upstreams whose downloads of it still run have it from the store. */
  async #commitInTurn({ digest, of }: DownloadOrder, incoming: IncomingBlob, turn: CommitTurn): Promise<Kept> {
    const isStored = async () => {
      await using stored = await this.#deps.store.open(digest);
      return stored !== undefined;
    };
    const how = await turn.commit({ isStored, commit: () => this.#commit(digest, incoming) });
    for (const [key, running] of this.#running)
      if (running.digest === digest && running.of.upstream !== of.upstream) this.#running.delete(key);
    return how;
  }

  /** Where only the last fsync fails the blob is visible all the same, and counts as what it is. */
  async #commit(digest: Digest, incoming: IncomingBlob): Promise<void> {
    const { store, observer } = this.#deps;
    try {
      await incoming.commit();
    } catch (cause) {
      await using stored = await store.open(digest);
      if (!stored) throw cause;
      observer.trouble({ part: 'blob store', cause });
    }
  }
}

function stopping(): UpstreamError {
  return new UpstreamError('busy', 'the mirror is stopping');
}

/** @throws the cause. */
async function discard({ opened, interrupted }: Opening, cause: unknown): Promise<never> {
  opened.body.destroy();
  if (interrupted) await giveBack(interrupted);
  throw cause;
}

function keyOf(upstream: string, digest: Digest): string {
  return `${upstream}@${digest}`;
}

/** What is served without being stored is served from its beginning. */
async function wholeOf(
  { opened, interrupted }: Opening,
  openAt: (position: number) => Promise<OpenedBlob>,
): Promise<OpenedBlob> {
  if (interrupted) await giveBack(interrupted);
  if (opened.offset === 0) return opened;
  opened.body.destroy();
  return openAt(0);
}
