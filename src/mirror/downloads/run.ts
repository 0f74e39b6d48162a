import type { Digest } from '../../oci/digest.ts';
import type { UpstreamError } from '../../oci/errors.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { Download } from './download.ts';
import { heldBackBytes } from '../transfers/held-back.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { NotStored } from './not-stored.ts';
import type { Scheduled } from './scheduler.ts';

/** A download, or the upstream's open body if the store has no room for it. */
export type Started = { readonly kind: 'download'; readonly download: Download } | NotStored;

export interface RunDeps {
  readonly of: RepositoryId;
  readonly digest: Digest;
  readonly label: string;
  readonly maxConnections: number;
  readonly begin: (run: Run) => Promise<Started>;
  /** Called when the run is ended before its download has begun: no client may join it any more. */
  readonly onEnding: (run: Run) => void;
  /** Called when the last waiter has left; the download may still have readers. */
  readonly onLeft: (run: Run) => void;
}

/** One download from when it is requested, with the waiters for its beginning. */
export class Run implements Scheduled {
  readonly of: RepositoryId;
  readonly digest: Digest;
  readonly label: string;
  readonly maxConnections: number;
  readonly started: Promise<Started>;
  readonly #deps: RunDeps;
  readonly #ending = new AbortController();
  #waiters = 0;
  /** Whether its upstream may be asked. */
  #isAdmitted = false;
  #isAsking = false;
  #download: Download | undefined;
  #endReason: UpstreamError | undefined;

  constructor(deps: RunDeps) {
    this.#deps = deps;
    this.of = deps.of;
    this.digest = deps.digest;
    this.label = deps.label;
    this.maxConnections = deps.maxConnections;
    this.started = deps.begin(this);
    this.started.catch(() => {}); // Waiters handle the failure.
  }

  /** Aborts when the run is ended before its download has begun. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /**
   * Waits for the download to begin. The caller must join it in the same turn of the event loop.
   * @throws the failure of the start; the signal's reason.
   */
  async wait({ signal }: Waiting): Promise<Started> {
    this.#waiters += 1;
    try {
      return await abortable(this.started, signal);
    } finally {
      if (this.#download) setImmediate(() => this.#left());
      else this.#left();
    }
  }

  /** To be called when its upstream may be asked. */
  admitted(): void {
    this.#isAdmitted = true;
  }

  /** Runs `ask`, a request to the upstream. */
  async asking<Value>(ask: () => Promise<Value>): Promise<Value> {
    this.#isAsking = true;
    try {
      return await ask();
    } finally {
      this.#isAsking = false;
    }
  }

  /** To be called when the download has begun: from now on clients read it. */
  launched(download: Download): void {
    this.#download = download;
    if (this.#endReason) download.abort(this.#endReason);
  }

  /** Whether a client that joins now is answered at once: a small blob is answered only when it is complete. */
  get isAnswered(): boolean {
    if (this.#download === undefined) return false;
    const { isOver, size } = this.#download;
    return isOver || size === undefined || size > heldBackBytes;
  }

  /** Whether it is still queued and has no waiters left: it need not begin. */
  get isUnwanted(): boolean {
    return this.#waiters === 0 && !this.#isAdmitted;
  }

  hasClients(): boolean {
    return this.#waiters > 0 || (this.#download !== undefined && !this.#download.isAbandoned);
  }

  waitsForUpstream(): boolean {
    return this.#download?.waitsForUpstream ?? this.#isAsking;
  }

  end(reason: UpstreamError): void {
    if (this.#download) return this.#download.abort(reason);
    this.#endReason = reason;
    this.#ending.abort(reason);
    this.#deps.onEnding(this);
  }

  #left(): void {
    this.#waiters -= 1;
    if (this.#waiters === 0) this.#deps.onLeft(this);
  }
}
