import type { Digest } from '../oci/digest.ts';
import { UpstreamError } from '../oci/errors.ts';
import { Download } from './download.ts';
import { giveBack, type Opening, openWhereItStopped } from './going-on.ts';
import type { BlobStore, Clock, IncomingBlob, Mark, Observer, OpenedBlob, RepositoryId, Waiting } from './ports.ts';
import type { ResumeRules } from './resumed-pieces.ts';
import type { Reservation, Space } from './space.ts';

export interface DownloadsDeps {
  readonly store: BlobStore;
  readonly space: Space;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly maxConcurrent: number;
  /** How many downloads may go on though all their clients have left. */
  readonly maxAbandoned: number;
  /** How many may wait in line for one to end. */
  readonly maxWaiting: number;
  readonly resume: ResumeRules;
}

/** What a download is started with. */
export interface DownloadOrder {
  readonly digest: Digest;
  readonly of: RepositoryId;
  /** The upstream's label. */
  readonly upstream: string;
  readonly openAt: (position: number, waiting: Waiting) => Promise<OpenedBlob>;
  /** The size by the descriptor that names the blob, where the upstream does not tell. */
  readonly promisedSize: number | undefined;
  /** Records a blob that has just become visible. */
  readonly recordKept: (size: number) => Promise<void>;
}

/** A download, or the upstream's open body where there is no room to store it. */
export type Started =
  | { readonly kind: 'download'; readonly download: Download }
  | { readonly kind: 'no-room'; readonly opened: OpenedBlob };

export interface RunningDownload {
  readonly of: RepositoryId;
  readonly started: Promise<Started>;
}

/** Where a download is written. */
interface Place {
  readonly reservation: Reservation;
  readonly incoming: IncomingBlob;
  /** Of what is there already. */
  readonly mark?: Mark;
}

/** All running downloads: at most one for a digest, a bounded number in all; one nobody waits for yields to one with clients. */
export class Downloads {
  readonly #deps: DownloadsDeps;
  /** A download leaves the map only when its blob is visible, so that no second one can slip in between. */
  readonly #running = new Map<Digest, RunningDownload>();
  /** In the order they began. */
  readonly #active = new Set<Download>();
  readonly #line: PromiseWithResolvers<void>[] = [];
  #slotsTaken = 0;
  readonly #stopping = new AbortController();

  constructor(deps: DownloadsDeps) {
    this.#deps = deps;
  }

  running(digest: Digest): RunningDownload | undefined {
    return this.#running.get(digest);
  }

  /** The download of a digest, once the upstream has answered. */
  begun(digest: Digest): Download | undefined {
    return [...this.#active].find((download) => download.digest === digest);
  }

  /** Starts a download. The caller has seen that none is running for the digest. */
  start(order: DownloadOrder): RunningDownload {
    const running = { of: order.of, started: this.#begin(order) };
    this.#running.set(order.digest, running);
    const leave = () => {
      if (this.#running.get(order.digest) === running) this.#running.delete(order.digest);
    };
    running.started.then(async (result) => {
      if (result.kind === 'download') {
        // Who waited for it joins in this turn; whoever left before it began has never been a reader.
        setImmediate(() => this.#limitAbandoned());
        await result.download.ended;
      }
      leave();
    }, leave);
    return running;
  }

  /** Waits for what runs; once the signal aborts, ends it. */
  async stop({ signal }: { signal: AbortSignal }): Promise<void> {
    this.#stopping.abort(new UpstreamError('busy', 'the mirror is stopping'));
    for (const { reject } of this.#line.splice(0)) reject(new UpstreamError('busy', 'the mirror is stopping'));
    const cut = () => {
      for (const download of this.#active) download.abort(new UpstreamError('busy', 'the mirror is stopping'));
    };
    signal.addEventListener('abort', cut, { once: true });
    if (signal.aborted) cut();
    for (const download of this.#active)
      if (download.isAbandoned) download.abort(new UpstreamError('busy', 'stopping'));
    await Promise.all([...this.#active].map((download) => download.ended));
    signal.removeEventListener('abort', cut);
  }

  async #begin(order: DownloadOrder): Promise<Started> {
    await this.#takeSlot();
    let holdsSlot = true;
    try {
      const openAt = (position: number) => order.openAt(position, { signal: this.#stopping.signal });
      const opening = await openWhereItStopped({ ...order, store: this.#deps.store, openAt });
      const place = await this.#placeFor(order.digest, opening);
      if (!place) return { kind: 'no-room', opened: await wholeOf(opening, openAt) };
      const download = this.#launch(order, { ...opening, ...place });
      holdsSlot = false;
      return { kind: 'download', download };
    } finally {
      if (holdsSlot) this.#freeSlot();
    }
  }

  /** Where the blob is written, and room for what is missing of it. */
  async #placeFor(digest: Digest, { size, interrupted }: Opening): Promise<Place | undefined> {
    const { space, store } = this.#deps;
    const missingBytes = size === undefined ? undefined : size - (interrupted?.mark.bytes ?? 0);
    const reservation = await space.reserve(missingBytes).catch((cause: unknown) => this.#cannotStore(cause));
    if (!reservation) return undefined;
    if (interrupted) return { reservation, ...interrupted };
    const incoming = await store.create(digest).catch((cause: unknown) => this.#cannotStore(cause, reservation));
    return incoming && { reservation, incoming };
  }

  /** A disk that cannot say how full it is, or takes no file, keeps nobody from being served. */
  #cannotStore(cause: unknown, reservation?: Reservation): undefined {
    reservation?.release();
    this.#deps.observer.trouble({ part: 'blob store', cause });
  }

  #launch(
    { digest, upstream, openAt, recordKept }: DownloadOrder,
    parts: Place & Pick<Opening, 'opened' | 'size'>,
  ): Download {
    const { observer, clock, space } = this.#deps;
    const startedAtMs = clock.monotonicMs();
    const download = new Download({
      digest,
      size: parts.size,
      opened: parts.opened,
      openAt,
      ...this.#deps.resume,
      incoming: parts.incoming,
      mark: parts.mark,
      onDamaged: (cause) => observer.trouble({ part: 'blob store', cause }),
      onWritten: (bytes) => parts.reservation.wrote(bytes),
      onAbandoned: () => this.#limitAbandoned(),
      keep: async ({ size }) => {
        await this.#commit(digest, parts.incoming);
        await recordKept(size);
      },
    });
    this.#active.add(download);
    observer.downloadStarted({ upstream });
    void download.ended.then((end) => {
      this.#active.delete(download);
      parts.reservation.release();
      // What came without telling its size may have overrun the bound.
      if (parts.size === undefined)
        space.sweep().catch((cause: unknown) => observer.trouble({ part: 'eviction', cause }));
      this.#freeSlot();
      observer.downloadEnded({ upstream, ...end, durationMs: clock.monotonicMs() - startedAtMs });
    });
    return download;
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

  async #takeSlot(): Promise<void> {
    const { maxConcurrent, maxWaiting } = this.#deps;
    if (this.#stopping.signal.aborted) throw new UpstreamError('busy', 'the mirror is stopping');
    if (this.#slotsTaken < maxConcurrent) {
      this.#slotsTaken += 1;
      return;
    }
    if (this.#line.length >= maxWaiting)
      throw new UpstreamError('busy', 'too many downloads are waiting', { retryAfterSeconds: 5 });
    this.#oldestAbandoned()?.abort(new UpstreamError('busy', 'yielded to a download that clients wait for'));
    const turn = Promise.withResolvers<void>();
    this.#line.push(turn);
    await turn.promise;
  }

  /** Hands the slot to the next in line, who then holds it. */
  #freeSlot(): void {
    const next = this.#line.shift();
    if (next) next.resolve();
    else this.#slotsTaken -= 1;
  }

  #limitAbandoned(): void {
    const abandoned = [...this.#active].filter((download) => download.isAbandoned);
    if (this.#line.length > 0 || this.#stopping.signal.aborted || abandoned.length > this.#deps.maxAbandoned) {
      abandoned[0]?.abort(new UpstreamError('busy', 'nobody waits for this download, and it has to yield'));
    }
  }

  #oldestAbandoned(): Download | undefined {
    return [...this.#active].find((download) => download.isAbandoned);
  }
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
