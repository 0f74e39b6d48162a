import type { Digest } from '../../oci/digest.ts';
import type { UpstreamError } from '../../oci/errors.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { SpanReference } from '../ports/tracing.ts';
import type { OtherCacheKind } from '../ports/cache-status.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { RemoteBlob } from '../transfers/remote-blob.ts';
import { withheldBytes } from '../transfers/withheld-tail.ts';
import type { Download } from './download.ts';
import type { Scheduled } from './scheduler.ts';

/** What is downloaded, and for which repository. */
export interface DownloadOrder {
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
  readonly blob: RemoteBlob;
  /** The upstream's label. */
  readonly label: string;
  /** The most connections to one of the upstream's hosts. */
  readonly maxConnections: number;
  /** The size by the descriptor that names the blob, for sources that do not report it. */
  readonly promisedSize: number | undefined;
}

/** A download that runs. */
export interface RunningDownload {
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
  readonly receivedBytes: number;
  /** Undefined if it is not known. */
  readonly size: number | undefined;
}

/** A download, or the open body of a source if the store has no room for it. */
export type Started = { readonly kind: 'download'; readonly download: Download } | NotStored;

/** A blob that the store has no room for, with the open body of a source. The first caller of `takeOpened` owns the body. */
export interface NotStored {
  readonly kind: 'no-room';
  /** Of the whole blob, if it is known. */
  readonly size: number | undefined;
  readonly takeOpened: () => OpenedBlob | undefined;
  /** At the sources, one of which has sent the body. */
  readonly blob: RemoteBlob;
}

/** What the steps of a download report; see {@link Downloads}. */
export interface Runs {
  /** To be called when bytes are about to be written. */
  began(run: Run, download: Download): void;
  /** To be called when the blob is stored. */
  stored(run: Run): void;
  /** To be called when a download may have lost its last reader. */
  readersLeft(): void;
}

/** One download from when it is requested, with the waiters for its beginning. */
export class Run implements Scheduled {
  readonly order: DownloadOrder;
  /** The other cache that its answer came from, as far as clients may be told. Set when it has begun. */
  via: OtherCacheKind | undefined;
  /** How many clients wait for the download to begin. */
  waiters = 0;
  /** The request that asked for it first, if requests are traced. */
  begunBy: SpanReference | undefined;
  readonly #started = Promise.withResolvers<Started>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #ending = new AbortController();
  /** Whether its sources may be asked. */
  #isAdmitted = false;
  #isAsking = false;
  #download: Download | undefined;
  #endReason: UpstreamError | undefined;

  constructor(order: DownloadOrder) {
    this.order = order;
    this.started.catch(() => {}); // Waiters handle the failure.
  }

  get label(): string {
    return this.order.label;
  }

  get maxConnections(): number {
    return this.order.maxConnections;
  }

  /** Settles when the download begins, or cannot. */
  get started(): Promise<Started> {
    return this.#started.promise;
  }

  /** Resolves when the run has ended and no longer touches the store. Never rejects. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Aborts when the run is ended before its download has begun. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** Undefined until it begins. */
  get download(): Download | undefined {
    return this.#download;
  }

  /** Whether clients may join it: not if it was ended before it began. */
  get isJoinable(): boolean {
    return !this.#ending.signal.aborted;
  }

  /** Whether a client that joins now is answered at once: a small blob is answered only when it is complete. */
  get isAnswered(): boolean {
    if (this.#download === undefined) return false;
    const { isOver, size } = this.#download;
    return isOver || size === undefined || size > withheldBytes;
  }

  /** Whether it is still queued and has no waiters left: it need not begin. */
  get isUnwanted(): boolean {
    return this.waiters === 0 && !this.#isAdmitted;
  }

  /** To be called when its sources may be asked. */
  admitted(): void {
    this.#isAdmitted = true;
  }

  /** Runs `ask`, a request to its sources. */
  async asking<Value>(ask: () => Promise<Value>): Promise<Value> {
    this.#isAsking = true;
    try {
      return await ask();
    } finally {
      this.#isAsking = false;
    }
  }

  /** To be called when the download has begun: from now on clients read it. */
  began(download: Download, { via }: Pick<OpenedBlob, 'via'> = {}): void {
    this.#download = download;
    this.via = via;
    this.#started.resolve({ kind: 'download', download });
    if (this.#endReason) download.abort(this.#endReason);
  }

  /** To be called if the store has no room. Waiters take the body in this turn of the event loop; then it is closed, to free its connection. */
  beganUnstored(size: number | undefined, opened: OpenedBlob): void {
    let left: OpenedBlob | undefined = opened;
    const takeOpened = () => {
      const taken = left;
      left = undefined;
      return taken;
    };
    this.#started.resolve({ kind: 'no-room', size, takeOpened, blob: this.order.blob });
    setImmediate(() => takeOpened()?.body.destroy());
  }

  /** To be called if it cannot begin. */
  failed(cause: unknown): void {
    this.#started.reject(cause);
  }

  /** To be called when nothing more happens. */
  over(): void {
    this.#ended.resolve();
  }

  hasClients(): boolean {
    return this.waiters > 0 || (this.#download !== undefined && !this.#download.isAbandoned);
  }

  waitsForUpstream(): boolean {
    return this.#download?.waitsForUpstream ?? this.#isAsking;
  }

  end(reason: UpstreamError): void {
    if (this.#download) return this.#download.abort(reason);
    this.#endReason = reason;
    this.#ending.abort(reason);
  }
}
