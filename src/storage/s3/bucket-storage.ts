import { join } from 'node:path';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Memory } from '../../mirror/ports/memory.ts';
import type { BucketObserver, Observer } from '../../mirror/ports/observer.ts';
import { ifAnswered, type OtherCache } from '../../mirror/ports/other-caches.ts';
import { bytesOnDisk, type RecordStore } from '../../mirror/ports/record-store.ts';
import type { BlobSource, ContentQuestion, SharedWork } from '../../mirror/ports/shared-work.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import type { Digest } from '../../oci/digest.ts';
import { uploadsFile } from '../layout.ts';
import { BucketCache } from './bucket-cache.ts';
import { BucketLayout } from './bucket-layout.ts';
import { BucketLinks } from './bucket-links.ts';
import { BucketObjects, type UploadPlace } from './access/objects.ts';
import { BucketRecords } from './bucket-records.ts';
import { BucketCalls } from './access/calls.ts';
import type { BucketSettings } from './access/client.ts';
import { BucketContents, type BucketContentsDeps } from './sweep/bucket-contents.ts';
import { LastUses } from './sweep/last-uses.ts';
import { Upload, type UploadDeps } from './uploads/upload.ts';
import { UploadJournal } from './uploads/upload-journal.ts';
import { Uploads } from './uploads/uploads.ts';
import { UploadedRecords } from './uploads/uploaded-records.ts';

export interface BucketStorageDeps {
  readonly settings: BucketSettings;
  /** The local store's folder, absolute. */
  readonly path: string;
  readonly local: UploadDeps['local'] & { readonly records: RecordStore };
  readonly memory: Memory;
  readonly clock: Clock;
  readonly observer: BucketObserver & Pick<Observer, 'internalError'>;
}

/** Of a thousand uploads each. */
const maxUploadPages = 10;

/** The bucket that all replicas read from and write to. Nothing is loaded, and no call is made, before the first use. */
export class BucketStorage {
  readonly name = 'shared storage';
  /** What the bucket holds, to be read. */
  readonly cache: OtherCache & Pick<BucketCache, 'failedVerification' | 'urlFor'>;
  /** The local records. Tags and verdicts that are written to them are uploaded as well. */
  readonly records: RecordStore;
  readonly #contentsDeps: BucketContentsDeps;
  readonly #calls: BucketCalls;
  readonly #links: BucketLinks;
  readonly #cache: BucketCache;
  readonly #uploads: Uploads;
  #abortedUntil: UploadPlace | undefined;
  #uploaded: (bytes: number) => void = () => {};

  constructor(deps: BucketStorageDeps) {
    const { settings, clock, observer, local } = deps;
    const calls = new BucketCalls({ settings, clock, observer });
    const layout = new BucketLayout(settings.prefix);
    const objects = new BucketObjects({ settings, calls });
    const records = new BucketRecords({ objects, layout });
    const links = new BucketLinks({ records });
    const lastUses = new LastUses({ objects, layout, clock });
    const onUsed = lastUses.used.bind(lastUses);
    const cache = new BucketCache({ objects, records, links, layout, clock, onUsed });
    const upload = new Upload({
      ...deps,
      calls,
      objects,
      records,
      links,
      cache,
      layout,
      onManifest: (repositoryId, digest, named) => this.#uploads.noteManifest(repositoryId, digest, named),
    });
    const journal = new UploadJournal({
      path: join(deps.path, uploadsFile),
      observer,
      pending: () => this.#uploads.pending(),
    });
    const counting: Pick<BucketObserver, 'uploadEnded'> = {
      uploadEnded: (event) => {
        if (event.bytes > 0) this.#uploaded(bytesOnDisk(event.bytes));
        observer.uploadEnded(event);
      },
    };
    this.#uploads = new Uploads({ upload, journal, observer: counting, waitMs: () => calls.waitMs('write') });
    this.#contentsDeps = { objects, records, layout, memory: deps.memory };
    this.#calls = calls;
    this.#links = links;
    this.#cache = cache;
    this.cache = cache;
    this.records = new UploadedRecords({ records: local.records, uploads: this.#uploads, clock });
  }

  /** Takes up the uploads that earlier processes left. The bucket need not answer. */
  start(): Promise<void> {
    return this.#uploads.start();
  }

  async stop(waiting: Waiting): Promise<void> {
    await this.#uploads.stop(waiting);
    await this.#calls.close();
  }

  /** To be called when this replica has stored content that it got from an upstream. Content that came from the bucket is not uploaded again. Never throws. */
  stored({ repositoryId, digest }: ContentQuestion): void {
    if (this.#links.isKnown(repositoryId, digest) && !this.#cache.isDistrusted(digest)) return;
    this.#uploads.add({ kind: 'blob', repositoryId, digest });
  }

  failedVerification(digest: Digest): void {
    this.#cache.failedVerification(digest);
  }

  /** All that the bucket holds, for its sweep. */
  contents(waiting: Waiting): BucketContents {
    return new BucketContents(this.#contentsDeps, waiting);
  }

  /**
   * Removes the parts of uploads that were started before that time and never completed, also those of replicas that died. It looks at ten
   * thousand uploads at most; the next call goes on from there.
   */
  async abortUploads(options: Waiting & { readonly startedBeforeMs: number }): Promise<void> {
    const { objects, layout } = this.#contentsDeps;
    for (let page = 0; page < maxUploadPages; page += 1) {
      const after = this.#abortedUntil && { after: this.#abortedUntil };
      const { next } = await objects.abortUploads(layout.root, { ...options, ...after });
      this.#abortedUntil = next;
      if (this.#abortedUntil === undefined) return;
    }
  }

  /** Calls `listener` with the size of content in whole 4 KiB, whenever this process has put some into the bucket. There is one. */
  onUploaded(listener: (bytes: number) => void): void {
    this.#uploaded = listener;
  }

  /** How many uploads wait or run. */
  get queued(): number {
    return this.#uploads.queued;
  }

  /** For readyz: `ok`, or why the bucket is not read from, or not written to, for a while. */
  state(): { readonly reads: string; readonly writes: string } {
    const word = (state: string) => (state === 'closed' ? 'ok' : state);
    return { reads: word(this.#calls.state('read')), writes: word(this.#calls.state('write')) };
  }
}

/** The bucket as a source of blobs. */
export function bucketSource({ cache }: Pick<BucketStorage, 'cache'>): BlobSource {
  return {
    open: (repositoryId, digest, options) => cache.openBlob(repositoryId, digest, options),
    failedVerification: (digest) => cache.failedVerification(digest),
  };
}

/**
 * What replicas share by a bucket alone, without a cluster: content that the bucket has is read from there before the upstream is asked, and
 * content that came from an upstream is uploaded.
 */
export function sharedByBucket(bucket: Pick<BucketStorage, 'cache' | 'stored'>): SharedWork {
  const source = bucketSource(bucket);
  return {
    blobSources: (_question, upstream) => [source, upstream],
    manifest: async ({ repositoryId, digest }, fromUpstream, waiting) =>
      (await ifAnswered(() => bucket.cache.manifest(repositoryId, digest, waiting), waiting)) ??
      (await fromUpstream(waiting)),
    stored: (question) => bucket.stored(question),
  };
}
