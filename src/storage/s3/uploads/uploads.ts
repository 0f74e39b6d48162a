import { LRUCache } from 'lru-cache';
import { UpstreamError } from '../../../oci/errors.ts';
import type { Digest } from '../../../oci/digest.ts';
import { abortable } from '../../../mirror/concurrency/abortable-wait.ts';
import type { BucketObserver } from '../../../mirror/ports/observer.ts';
import { type RecordKey, recordName } from '../../../mirror/ports/record-store.ts';
import { contentKey, type RepositoryId } from '../../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { CallRejected } from '../access/calls.ts';
import { LocalDamage, type Upload } from './upload.ts';
import type { UploadJournal } from './upload-journal.ts';

export interface UploadsDeps {
  readonly upload: Pick<Upload, 'run'>;
  readonly journal: Pick<UploadJournal, 'load' | 'due' | 'done' | 'flushed'>;
  readonly observer: Pick<BucketObserver, 'uploadEnded'>;
  /** How long until the bucket takes uploads again. */
  readonly waitMs: () => number;
  readonly maxQueued?: number;
  /** Calls `work` after `ms`. @returns a function that prevents it. */
  readonly later?: (ms: number, work: () => void) => () => void;
  /** From 0 to below 1. */
  readonly random?: () => number;
}

interface DueUpload {
  readonly key: RecordKey;
  /** How often it was refused, or not found. */
  readonly tries: number;
}

const maxQueued = 10_000;
const maxRunning = 2;
const maxTries = 5;
const maxLooks = 2;
const firstPauseMs = 1_000;
const longestPauseMs = 60_000;
const maxParents = 50_000;

/**
 * Uploads to the bucket, in the background: a bounded queue, a few at a time. While the bucket fails, all of it waits, longer after each
 * failure. What is due is in a journal, so that the next process goes on with it.
 */
export class Uploads {
  readonly name = 'uploads';
  readonly #deps: Required<UploadsDeps>;
  readonly #queue = new Map<string, DueUpload>();
  /** Records that were not there: each is looked for again a little later. */
  readonly #delayed = new Map<string, { readonly key: RecordKey; readonly cancel: () => void }>();
  readonly #running = new Map<string, { readonly key: RecordKey; readonly ended: Promise<void> }>();
  /** The manifest that names a blob, by the repository and the blob. */
  readonly #parents = new LRUCache<string, Digest>({ max: maxParents });
  readonly #stopping = new AbortController();
  #isStarted = false;
  #failures = 0;
  #stopPause: (() => void) | undefined;

  constructor(deps: UploadsDeps) {
    this.#deps = { maxQueued, later: laterByTimer, random: Math.random, ...deps };
  }

  /** How many uploads wait or run. */
  get queued(): number {
    return this.#queue.size + this.#delayed.size + this.#running.size;
  }

  /** What is not uploaded yet. */
  *pending(): Iterable<RecordKey> {
    for (const { key } of this.#running.values()) yield key;
    for (const { key } of this.#delayed.values()) yield key;
    for (const { key } of this.#queue.values()) yield key;
  }

  /** Takes up what earlier processes left. */
  async start(): Promise<void> {
    for (const key of await this.#deps.journal.load()) this.#enqueue({ key, tries: 0 });
    this.#isStarted = true;
    this.#pump();
  }

  /** Lets running uploads end until the signal aborts. What is left is in the journal. */
  async stop({ signal }: Waiting): Promise<void> {
    this.#isStarted = false;
    this.#stopPause?.();
    for (const { cancel } of this.#delayed.values()) cancel();
    const ended = Promise.all(Array.from(this.#running.values(), (one) => one.ended));
    await abortable(ended, signal).catch(() => {});
    this.#stopping.abort(new Error('the mirror stops'));
    await Promise.all(Array.from(this.#running.values(), (one) => one.ended));
    await abortable(this.#deps.journal.flushed(), signal).catch(() => {});
  }

  /** Queues a record of the local store; a link or a manifest with its content. Never throws. */
  add(key: RecordKey): void {
    const name = recordName(key);
    if (this.#queue.has(name)) return;
    if (this.queued >= this.#deps.maxQueued) return this.#deps.observer.uploadEnded({ result: 'dropped', bytes: 0 });
    this.#deps.journal.due(key);
    this.#enqueue({ key, tries: 0 });
    this.#pump();
  }

  /** Notes what a manifest names, so that its record carries the links to it once they are there. */
  noteManifest(repositoryId: RepositoryId, digest: Digest, named: readonly Digest[]): void {
    for (const name of named) this.#parents.set(contentKey(repositoryId, name), digest);
  }

  #enqueue(waiting: DueUpload): void {
    this.#queue.set(recordName(waiting.key), waiting);
  }

  /** After a failure one at a time, until one has succeeded. */
  get #mayRun(): number {
    return this.#failures > 0 ? 1 : maxRunning;
  }

  #pump(): void {
    while (this.#isStarted && !this.#stopPause && this.#running.size < this.#mayRun) {
      const next = this.#queue.entries().find(([name]) => !this.#running.has(name));
      if (!next) return;
      const [name, waiting] = next;
      this.#queue.delete(name);
      const ended = this.#run(waiting).finally(() => {
        this.#running.delete(name);
        this.#pump();
      });
      this.#running.set(name, { key: waiting.key, ended });
    }
  }

  async #run(waiting: DueUpload): Promise<void> {
    const { upload, journal, observer } = this.#deps;
    const { key } = waiting;
    try {
      const { result, bytes } = await upload.run(key, { signal: this.#stopping.signal });
      this.#failures = 0;
      if (result === 'gone' && this.#lookAgain(waiting)) return;
      observer.uploadEnded({ result, bytes });
      if (!this.#queue.has(recordName(key))) journal.done(key);
      if (key.kind === 'blob') this.#refreshParent(key.repositoryId, key.digest);
    } catch (cause) {
      this.#failed(waiting, cause);
    }
  }

  #failed(waiting: DueUpload, cause: unknown): void {
    const { journal, observer } = this.#deps;
    const { key } = waiting;
    if (this.#stopping.signal.aborted) return;
    const isBucket = cause instanceof UpstreamError && !(cause instanceof CallRejected);
    if (isBucket) this.#enqueue(waiting);
    if (isBucket || (!(cause instanceof LocalDamage) && this.#tryAgain(waiting))) {
      observer.uploadEnded({ result: 'retried', bytes: 0, cause });
      return this.#pause();
    }
    observer.uploadEnded({ result: 'failed', bytes: 0, cause });
    journal.done(key);
  }

  /** Puts it at the end of the queue, a few times. */
  #tryAgain({ key, tries }: DueUpload): boolean {
    if (tries + 1 >= maxTries) return false;
    this.#enqueue({ key, tries: tries + 1 });
    return true;
  }

  /** A record may be written a moment after its content. */
  #lookAgain({ key, tries }: DueUpload): boolean {
    if (tries + 1 >= maxLooks) return false;
    const name = recordName(key);
    const cancel = this.#deps.later(firstPauseMs, () => {
      this.#delayed.delete(name);
      this.#enqueue({ key, tries: tries + 1 });
      this.#pump();
    });
    this.#delayed.set(name, { key, cancel });
    return true;
  }

  /** Starts no upload for a while. */
  #pause(): void {
    if (this.#stopPause) return;
    const backOffMs = Math.min(longestPauseMs, firstPauseMs * 2 ** this.#failures) * (0.5 + this.#deps.random());
    this.#failures += 1;
    this.#stopPause = this.#deps.later(Math.max(backOffMs, this.#deps.waitMs() + 1), () => {
      this.#stopPause = undefined;
      this.#pump();
    });
  }

  /** The record of the manifest is written again, with one link more. */
  #refreshParent(repositoryId: RepositoryId, digest: Digest): void {
    const parent = this.#parents.get(contentKey(repositoryId, digest));
    if (parent) this.add({ kind: 'manifest', repositoryId, digest: parent });
  }
}

function laterByTimer(ms: number, work: () => void): () => void {
  const timer = setTimeout(work, ms).unref();
  return () => clearTimeout(timer);
}
