import type { Digest } from '../oci/digest.ts';
import { OciError, UpstreamError } from '../oci/errors.ts';
import type { SatisfiableRange } from '../oci/range.ts';
import { type Download, heldBackBytes } from './download.ts';
import type { Downloads, RunningDownload, Started } from './downloads.ts';
import type { FreshnessPolicies } from './freshness.ts';
import type { BlobLinks } from './links.ts';
import type { Manifests } from './manifests.ts';
import type {
  BlobStore,
  ByteSource,
  CacheStatus,
  Clock,
  Index,
  Observer,
  OpenedBlob,
  RepositoryId,
  StoredBlob,
  Upstream,
  Waiting,
} from './ports.ts';
import type { BlobRecord } from './records.ts';
import { Remembered, RememberedNotFound } from './remembered.ts';
import { orAbort, SingleFlight } from './single-flight.ts';
import { piecesOf, unverifiedSource, verifiedSource } from './verified-source.ts';

export interface BlobsDeps {
  readonly store: BlobStore;
  readonly links: BlobLinks;
  readonly manifests: Pick<Manifests, 'promisedSize'>;
  readonly downloads: Downloads;
  readonly index: Index;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policies: FreshnessPolicies;
  /** Hash every stored blob again while it is read. */
  readonly verifyReads: boolean;
}

export interface BlobQuestion {
  readonly upstream: Upstream;
  readonly of: RepositoryId;
  readonly digest: Digest;
}

export interface ServedBlob {
  readonly digest: Digest;
  /** Undefined while nobody knows: the answer is chunked. */
  readonly size: number | undefined;
  /** Must be disposed. */
  readonly source: ByteSource;
  readonly cache: CacheStatus;
  /** Since when this repository serves it. */
  readonly firstServedAtMs: number;
  /** Positions must follow each other from the beginning: a range is read by skipping. */
  readonly isSequential: boolean;
  /** A source of its own for a range far ahead of a running download; undefined where following the download is better. */
  readonly relayAhead?: (range: SatisfiableRange, waiting: Waiting) => Promise<ByteSource | undefined>;
}

export interface BlobHead {
  readonly size: number | undefined;
  readonly cache: CacheStatus;
  readonly firstServedAtMs: number;
}

/** A range this small … */
const maxRelayedBytes = 8 * 1024 * 1024;
/** … that starts this far ahead of the writer is asked for on its own (lazy pulling: nydus, estargz, zstd:chunked). */
const minRelayedAheadBytes = 64 * 1024 * 1024;
const pieceBytes = 256 * 1024;

/** Whether a range of a running download follows the writer, or is relayed from the upstream beside it. Pure. */
export function rangeOfRunning(range: SatisfiableRange, writtenBytes: number): 'follow' | 'relay' {
  const isSmall = range.end - range.start + 1 <= maxRelayedBytes;
  return !range.isOpenEnded && isSmall && range.start - writtenBytes > minRelayedAheadBytes ? 'relay' : 'follow';
}

/** Blobs by digest: after the link check a running download, else the store, else a download. */
export class Blobs {
  readonly #deps: BlobsDeps;
  readonly #confirmations = new SingleFlight<BlobRecord>();
  readonly #heads = new SingleFlight<{ readonly size: number | undefined }>();
  readonly #missing: Remembered<OciError>;

  constructor(deps: BlobsDeps) {
    this.#deps = deps;
    this.#missing = new Remembered({ clock: deps.clock, max: 20_000 });
  }

  /** @throws OciError BLOB_UNKNOWN; UpstreamError when it is not cached and no answer came. */
  async open(question: BlobQuestion, waiting: Waiting): Promise<ServedBlob> {
    const { of, digest } = question;
    let link = await this.#deps.links.check(of, digest);
    let wasAsked = false;
    for (;;) {
      const running = this.#deps.downloads.running(digest);
      if (running && (link || isSame(running.of, of))) {
        const joined = await this.#join(question, running, waiting);
        if (joined) return joined;
        continue;
      }
      const stored = running ? undefined : await this.#deps.store.open(digest, link?.size);
      if (stored && link) return this.#hit(digest, stored, link, wasAsked);
      await stored?.[Symbol.asyncDispose]();
      if (!stored && !running) {
        if (!this.#deps.downloads.running(digest)) return this.#download(question, waiting);
        continue;
      }
      link = await this.#confirm(question, waiting);
      wasAsked = true;
    }
  }

  /** A HEAD: never a download. */
  async head(question: BlobQuestion, waiting: Waiting): Promise<BlobHead> {
    const { of, digest } = question;
    const link = await this.#deps.links.check(of, digest);
    const size = link && (await this.#sizeOfCached(digest, link));
    if (link && size !== undefined) return { size, cache: { word: 'hit' }, firstServedAtMs: link.firstServedAtMs };
    this.#throwIfMissing(question);
    const ask = (flight: Waiting) =>
      this.#asking(question, () => question.upstream.headBlob(of.repository, digest, flight));
    const { value, collapsed } = await this.#heads.run(keyOf(question), ask, waiting);
    const { firstServedAtMs } = this.#deps.links.confirm(of, digest);
    return {
      size: value.size,
      cache: { word: collapsed ? 'collapsed' : 'miss', upstreamStatus: 200 },
      firstServedAtMs,
    };
  }

  async #sizeOfCached(digest: Digest, link: BlobRecord): Promise<number | undefined> {
    const running = await this.#deps.downloads.running(digest)?.started.catch(() => undefined);
    if (running?.kind === 'download' && !running.download.hasFailed) return running.download.size;
    const stored = await this.#deps.store.open(digest, link.size);
    await stored?.[Symbol.asyncDispose]();
    return stored?.size;
  }

  /**
   * A hit; but where this repository had to be confirmed first, the answer looks like any first pull: whether the bytes were here
   * already says what another repository holds.
   */
  #hit(digest: Digest, stored: StoredBlob, link: BlobRecord, wasAsked: boolean): ServedBlob {
    this.#deps.index.noteUse(digest, this.#deps.clock.now());
    return {
      digest,
      size: stored.size,
      source: this.#deps.verifyReads ? verifyingRead(digest, stored) : stored,
      cache: wasAsked ? firstPull : { word: 'hit' },
      firstServedAtMs: link.firstServedAtMs,
      isSequential: this.#deps.verifyReads,
    };
  }

  /** @returns undefined when somebody else's start failed: this caller tries on its own. */
  async #join(question: BlobQuestion, running: RunningDownload, { signal }: Waiting): Promise<ServedBlob | undefined> {
    this.#deps.observer.collapsed({ kind: 'blob' });
    const isOurs = isSame(running.of, question.of);
    const started = await orAbort(isOurs ? running.started : running.started.catch(() => undefined), signal);
    if (started?.kind === 'no-room') return this.#relay(question, { signal });
    if (!started) return undefined;
    if (started.download.hasFailed) {
      await started.download.ended; // It leaves the map with this; not before, asking again would find it again.
      return undefined;
    }
    return this.#follow(question, started.download, { word: 'collapsed', upstreamStatus: 200 });
  }

  async #download(question: BlobQuestion, { signal }: Waiting): Promise<ServedBlob> {
    this.#throwIfMissing(question);
    const { upstream, of, digest } = question;
    const { downloads, manifests } = this.#deps;
    // The download outlives its clients, so it has no signal of theirs.
    const unhurried = new AbortController().signal;
    const running = downloads.start({
      digest,
      of,
      upstream: upstream.label,
      open: () => this.#asking(question, () => upstream.openBlob(of.repository, digest, { signal: unhurried })),
      promisedSize: manifests.promisedSize(of, digest),
      recordKept: (size) => this.#recordKept(question, size),
    });
    const started = await orAbort(running.started, signal).catch((cause: unknown) =>
      leaveUnread(running.started, cause),
    );
    if (started.kind === 'no-room') return this.#relayed(question, started.opened);
    return this.#follow(question, started.download, firstPull);
  }

  async #recordKept({ of, digest }: BlobQuestion, size: number): Promise<void> {
    const { links, index, observer, clock } = this.#deps;
    await links.record(of, digest, size);
    index.noteContent({ digest, size, isManifest: false, names: [], usedAtMs: clock.now() });
    observer.contentStored({ kind: 'blob', bytes: size });
  }

  /** Small blobs, and the empty one, are verified before the answer begins: they can still fail honestly. */
  async #follow(question: BlobQuestion, download: Download, cache: CacheStatus): Promise<ServedBlob> {
    const source = download.join();
    try {
      if (download.size !== undefined && download.size <= heldBackBytes) await download.verified;
    } catch (cause) {
      await source[Symbol.asyncDispose]();
      throw cause;
    }
    const { of, digest, upstream } = question;
    const { firstServedAtMs } = this.#deps.links.confirm(of, digest);
    return {
      digest,
      size: download.size,
      source,
      cache,
      firstServedAtMs,
      isSequential: false,
      relayAhead: async (range, waiting) => {
        if (rangeOfRunning(range, download.writtenBytes) === 'follow') return undefined;
        const opened = await upstream.openBlob(of.repository, digest, {
          ...waiting,
          range: { start: range.start, end: range.end },
        });
        if (opened.offset === range.start) return unverifiedSource(opened.body[Symbol.asyncIterator]());
        opened.body.destroy();
        return undefined;
      },
    };
  }

  /** Served without being stored, from an upstream request of its own. */
  async #relay(question: BlobQuestion, waiting: Waiting): Promise<ServedBlob> {
    const { upstream, of, digest } = question;
    return this.#relayed(
      question,
      await this.#asking(question, () => upstream.openBlob(of.repository, digest, waiting)),
    );
  }

  #relayed({ of, digest }: BlobQuestion, { size, body }: OpenedBlob): ServedBlob {
    const { firstServedAtMs } = this.#deps.links.confirm(of, digest);
    const source = verifiedSource(digest, body[Symbol.asyncIterator]());
    return { digest, size, source, cache: { word: 'miss', upstreamStatus: 200 }, firstServedAtMs, isSequential: true };
  }

  /** The bytes are here, but not known to be this repository's: its upstream is asked once, and the answer recorded. */
  async #confirm(question: BlobQuestion, waiting: Waiting): Promise<BlobRecord> {
    this.#throwIfMissing(question);
    const { of, digest, upstream } = question;
    const { links, store } = this.#deps;
    const ask = async (flight: Waiting) => {
      const claimed = await this.#asking(question, () => upstream.headBlob(of.repository, digest, flight));
      const stored = await store.open(digest);
      await stored?.[Symbol.asyncDispose]();
      links.confirm(of, digest);
      const isSameSize = claimed.size === undefined || claimed.size === stored?.size;
      if (stored) await links.record(of, digest, isSameSize ? stored.size : undefined);
      return { firstServedAtMs: this.#deps.clock.now(), ...(stored && isSameSize && { size: stored.size }) };
    };
    const { value } = await this.#confirmations.run(
      keyOf(question),
      (flight) => this.#orAfterRebuild(question, flight, ask),
      waiting,
    );
    return value;
  }

  /** While the index is being rebuilt it may not know yet that a manifest of this repository names the blob. */
  async #orAfterRebuild(
    { of, digest }: BlobQuestion,
    waiting: Waiting,
    ask: (waiting: Waiting) => Promise<BlobRecord>,
  ): Promise<BlobRecord> {
    try {
      return await ask(waiting);
    } catch (cause) {
      if (!(cause instanceof UpstreamError)) throw cause;
      await this.#deps.index.whenComplete(waiting);
      const link = await this.#deps.links.check(of, digest);
      if (!link) throw cause;
      return link;
    }
  }

  async #asking<Value>(question: BlobQuestion, ask: () => Promise<Value>): Promise<Value> {
    try {
      return await ask();
    } catch (cause) {
      if (cause instanceof OciError && cause.status === 404) {
        const { missingMs } = this.#deps.policies.rulesOf(question.upstream.label);
        this.#missing.remember(keyOf(question), cause, missingMs);
      }
      throw cause;
    }
  }

  #throwIfMissing(question: BlobQuestion): void {
    const missing = this.#missing.get(keyOf(question));
    if (missing) throw new RememberedNotFound(missing);
  }
}

const firstPull: CacheStatus = { word: 'miss', upstreamStatus: 200, stored: true };

function isSame(a: RepositoryId, b: RepositoryId): boolean {
  return a.upstream === b.upstream && a.repository === b.repository;
}

function keyOf({ of, digest }: BlobQuestion): string {
  return `${of.upstream}/${of.repository}@${digest}`;
}

/** The client that started a download has left. The download goes on; a body that nobody would store is closed. */
function leaveUnread(started: Promise<Started>, cause: unknown): never {
  void started.then(
    (result) => {
      if (result.kind === 'no-room') result.opened.body.destroy();
    },
    () => {}, // Told to whoever joined; this client is gone.
  );
  throw cause;
}

function verifyingRead(digest: Digest, stored: StoredBlob): ByteSource {
  const verified = verifiedSource(digest, piecesOf(stored, pieceBytes));
  return {
    read: (into, position) => verified.read(into, position),
    [Symbol.asyncDispose]: async () => {
      await verified[Symbol.asyncDispose]();
      await stored[Symbol.asyncDispose]();
    },
  };
}
