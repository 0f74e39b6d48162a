import type { Digest } from '../../oci/digest.ts';
import type { UpstreamError } from '../../oci/errors.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { Download } from '../download.ts';
import { heldBackBytes } from '../held-back.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { NotStored } from './not-stored.ts';
import type { Scheduled } from './scheduler.ts';

/** A download, or the upstream's open body where there is no room to store it. */
export type Started = { readonly kind: 'download'; readonly download: Download } | NotStored;

export interface RunDeps {
  readonly of: RepositoryId;
  readonly digest: Digest;
  readonly label: string;
  readonly maxConnections: number;
  readonly begin: (run: Run) => Promise<Started>;
  /** Called when it is ended before it has begun: nobody may join it any more. */
  readonly onEnding: (run: Run) => void;
  /** Called when nobody waits for it any more, though it may have readers. */
  readonly onLeft: (run: Run) => void;
}

/** One download from when it is asked for, with those who wait for it to begin. */
export class Run implements Scheduled {
  readonly of: RepositoryId;
  readonly digest: Digest;
  readonly label: string;
  readonly maxConnections: number;
  readonly started: Promise<Started>;
  readonly #deps: RunDeps;
  readonly #ending = new AbortController();
  #waiters = 0;
  /** Whether it may ask its upstream. */
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
    this.started.catch(() => {}); // Told to whoever waits.
  }

  /** Aborts when it is ended before it has begun. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** @throws what the start fails with; the signal's reason. Whoever is told of a download joins it in the same turn. */
  async wait({ signal }: Waiting): Promise<Started> {
    this.#waiters += 1;
    try {
      return await abortable(this.started, signal);
    } finally {
      if (this.#download) setImmediate(() => this.#left());
      else this.#left();
    }
  }

  /** Its turn has come. */
  admitted(): void {
    this.#isAdmitted = true;
  }

  /** Runs while the upstream is asked. */
  async asking<Value>(ask: () => Promise<Value>): Promise<Value> {
    this.#isAsking = true;
    try {
      return await ask();
    } finally {
      this.#isAsking = false;
    }
  }

  /** From now on clients read the download. */
  launched(download: Download): void {
    this.#download = download;
    if (this.#endReason) download.abort(this.#endReason);
  }

  /** Whether whoever joins it now is answered at once: a small one is answered only when all of it is there. */
  get isAnswered(): boolean {
    if (this.#download === undefined) return false;
    const { isOver, size } = this.#download;
    return isOver || size === undefined || size > heldBackBytes;
  }

  /** Nobody waits for it, and it waits for its turn: it need not begin. */
  get isForNobody(): boolean {
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
