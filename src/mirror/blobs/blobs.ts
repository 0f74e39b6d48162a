import type { Digest } from '../../oci/digest.ts';
import {
  type StoredBlobs,
  type BlobHead,
  type BlobQuestion,
  followingAnswer,
  blobName,
  type ServedBlob,
  storedAnswer,
  unlessUnreadable,
} from './served-blob.ts';
import { HeldBlobs, type HeldBlobsDeps } from './held-blobs.ts';
import { BlobConfirmations } from './blob-confirmations.ts';
import type { BlobsDeps } from './blobs-deps.ts';
import { UnstoredBlobs } from './unstored-blobs.ts';
import { UpstreamBlobs } from './upstream-blobs.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import { ratedBody } from '../concurrency/upstream-waiters.ts';
import type { Download } from '../downloads/download.ts';
import type { Run } from '../downloads/run.ts';
import type { StoredBlob } from '../ports/blob-store.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { ContentQuestion } from '../ports/shared-work.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { BlobRecord } from '../ports/record-store.ts';
import { isSameRepository } from '../ports/repository-id.ts';
import { partsAhead } from './parts-ahead.ts';
import type { Shared } from '../concurrency/single-flight.ts';

const firstPull: CacheStatus = { word: 'miss', upstreamStatus: 200, stored: true };
const collapsed: CacheStatus = { word: 'collapsed', upstreamStatus: 200 };

/** Serves blobs by digest. A repository with a link gets a running download, else the stored blob, else a new download. Without a link the upstream is asked first. */
export class Blobs {
  readonly #deps: BlobsDeps;
  readonly #upstreamBlobs: UpstreamBlobs;
  readonly #confirmations: BlobConfirmations;
  readonly #stored: StoredBlobs;
  readonly #unstored: UnstoredBlobs;
  /** What is read without asking an upstream. */
  readonly held: HeldBlobs;

  constructor(deps: BlobsDeps) {
    this.#deps = deps;
    this.#upstreamBlobs = new UpstreamBlobs(deps);
    this.#confirmations = new BlobConfirmations({ ...deps, upstreamBlobs: this.#upstreamBlobs });
    this.#stored = deps.storedBlobs;
    this.#unstored = new UnstoredBlobs({
      ...deps,
      head: (question, waiting) => this.#head(question, (ask) => ask(), waiting),
      upstreamBlobs: this.#upstreamBlobs,
    });
    const hit: HeldBlobsDeps['hit'] = (question, stored, link) => this.#hit(question, stored, link, false);
    this.held = new HeldBlobs({ ...deps, linkOf: (question) => this.#linkOf(question), hit });
  }

  /** A hit whose bytes are in memory, without waiting. Its source need not be disposed. */
  inMemory({ repositoryId, digest }: ContentQuestion): ServedBlob | undefined {
    const { downloads, links } = this.#deps;
    const link = links.remembered(repositoryId, digest);
    // If the size is not known, the bytes are verified.
    if (link?.size === undefined || downloads.find(repositoryId.upstream, digest)) return undefined;
    const source = this.#stored.inMemory(digest, link);
    if (!source) return undefined;
    this.#recordUse({ repositoryId, digest });
    const { bytes, size } = source;
    const { firstServedAtMs } = link;
    return { digest, source, bytes, size, cache: { word: 'hit' }, firstServedAtMs, isSequential: false };
  }

  /**
   * While the index is rebuilt it may know neither the blob nor a link to borrow: without an answer of the upstream, the end of the rebuild is
   * waited for. @throws OciError BLOB_UNKNOWN; UpstreamError when it is not cached and no answer came.
   */
  async open(question: BlobQuestion, waiting: Waiting): Promise<ServedBlob> {
    const link = await this.#linkOf(question);
    try {
      return await this.#open(question, link, waiting);
    } catch (cause) {
      if (link) throw cause;
      return this.#open(question, await this.#confirmations.linkAfterRebuild(question, cause, waiting), waiting);
    }
  }

  async #open(question: BlobQuestion, known: BlobRecord | undefined, waiting: Waiting): Promise<ServedBlob> {
    const { repositoryId, digest } = question;
    const { downloads } = this.#deps;
    const counted = <Value>(wait: () => Promise<Value>) => this.#deps.waiters.wait(question.upstream.label, wait);
    const rated = <Served extends ServedBlob | undefined>(opened: () => Promise<Served>) =>
      ratedBody(question.upstream.label, opened, this.#deps);
    let link = known;
    let wasAsked = false;
    for (;;) {
      const running = downloads.find(repositoryId.upstream, digest);
      if (running && (link || isSameRepository(running.order.repositoryId, repositoryId))) {
        const isLinked = link !== undefined;
        const join = () => this.#join(question, running, { signal: waiting.signal, wasAsked, isLinked });
        const joined = await rated(() => (running.isAnswered ? join() : counted(join)));
        if (joined) return joined;
        continue;
      }
      if (!link && (running || (await this.#isIndexed(digest)))) {
        link = await counted(() => this.#confirmations.confirm(question, waiting));
        wasAsked = true;
        continue;
      }
      const stored = link && (await this.#stored.open(digest, link));
      const isLinked = link !== undefined;
      if (stored === 'unreadable') {
        const whole = { ...question, partOf: undefined };
        const relay = () => this.#unstored.relay(whole, { signal: waiting.signal, size: link?.size, isLinked });
        return { ...(await rated(() => counted(relay))), ignoresRange: true };
      }
      if (stored && link) return this.#hit(question, stored, link, wasAsked);
      this.#upstreamBlobs.throwIfMissing(question);
      if (await this.#mayLackRoom(question)) {
        const relayed = { signal: waiting.signal, isLinked };
        const unstored = await rated(() => counted(() => this.#unstored.openWithoutRoom(question, relayed)));
        if (unstored) return unstored;
      }
      if (downloads.find(repositoryId.upstream, digest)) continue;
      return rated(() => counted(() => this.#download(question, waiting)));
    }
  }

  /**
   * The link of the repository to the blob. A remembered 404 is answered before anything that depends on other repositories, and the store
   * is not read without a link: response times must not tell what other repositories hold.
   */
  async #linkOf(question: ContentQuestion): Promise<BlobRecord | undefined> {
    const { repositoryId, digest } = question;
    const own = await this.#deps.links.own(repositoryId, digest);
    if (own) return own;
    this.#upstreamBlobs.throwIfMissing(question);
    return this.#deps.links.borrow(repositoryId, digest);
  }

  /**
   * Whether the index knows the blob under any repository: then the upstream is only asked to confirm it. A blob that the
   * index does not know yet is downloaded again.
   */
  async #isIndexed(digest: Digest): Promise<boolean> {
    const { index, observer } = this.#deps;
    return (await unlessUnreadable(observer, 'index', () => index.hasContent(digest))) ?? false;
  }

  /** Whether the blob may have to be relayed. A disk that cannot say how full it is counts as having room: storing then fails, and is handled there. */
  async #mayLackRoom(question: BlobQuestion): Promise<boolean> {
    const { manifests, space } = this.#deps;
    if (question.partOf || this.#unstored.lacking.get(blobName(question))) return true;
    const size = manifests.promisedSizes.get(blobName(question));
    return size !== undefined && !(await space.couldHold(size).catch(() => true));
  }

  /**
   * Answers a HEAD, without a download. That the upstream has the blob is not remembered: a later GET would be a hit if another repository
   * brought the bytes and else a miss, and so would tell which.
   */
  async head(question: BlobQuestion, waiting: Waiting): Promise<BlobHead> {
    return this.#head(question, (ask) => this.#deps.waiters.wait(question.upstream.label, ask), waiting);
  }

  /** @param counted runs a wait for the upstream. */
  async #head(
    question: BlobQuestion,
    counted: (ask: () => Promise<Shared<BlobRecord>>) => Promise<Shared<BlobRecord>>,
    waiting: Waiting,
  ): Promise<BlobHead> {
    const link = await this.#linkOf(question);
    const size = link && (await this.#sizeOfCached(question, link));
    if (link && size !== undefined) return { size, cache: { word: 'hit' }, firstServedAtMs: link.firstServedAtMs };
    this.#upstreamBlobs.throwIfMissing(question);
    const { value, collapsed } = await counted(() => this.#confirmations.head(question, waiting));
    return {
      size: value.size ?? this.#deps.manifests.promisedSizes.get(blobName(question)),
      cache: { word: collapsed ? 'collapsed' : 'miss', upstreamStatus: 200 },
      firstServedAtMs: (link ?? value).firstServedAtMs,
    };
  }

  async #sizeOfCached({ repositoryId, digest }: BlobQuestion, link: BlobRecord): Promise<number | undefined> {
    // A download that has not begun may be queued, and does not know its size yet.
    const begun = this.#deps.downloads.find(repositoryId.upstream, digest)?.download;
    if (begun && !begun.isOver) return begun.size;
    const stored = await this.#stored.open(digest, link);
    if (stored === 'unreadable') return link.size;
    await stored?.[Symbol.asyncDispose]();
    return stored?.size;
  }

  /**
   * A hit. If the upstream had to confirm the repository's link first, the answer looks like a first pull, since a hit would tell that
   * another repository holds the blob.
   */
  #hit(
    question: ContentQuestion,
    stored: StoredBlob,
    { firstServedAtMs, size }: BlobRecord,
    wasAsked: boolean,
  ): ServedBlob {
    const { store, verifyReads } = this.#deps;
    const { digest } = question;
    this.#recordUse(question);
    // If the size is not known, the bytes are verified.
    const onDamaged = verifyReads || size === undefined ? () => store.quarantine(digest, 'read') : undefined;
    const cache: CacheStatus = wasAsked ? firstPull : { word: 'hit' };
    const reportedSize = wasAsked ? (size ?? this.#deps.manifests.promisedSizes.get(blobName(question))) : stored.size;
    const answer = storedAnswer(question, stored, { cache, firstServedAtMs, size: reportedSize, onDamaged });
    return this.#stored.reportingDiskFailures(answer, { isStored: true });
  }

  #recordUse(question: ContentQuestion): void {
    const { index, clock, shared } = this.#deps;
    index.recordUse(question.digest, clock.now());
    index.recordRepositoryUse(question.repositoryId, clock.now());
    shared.readable?.(question);
  }

  /**
   * Joins a running download. If the link was confirmed first, the answer looks like a first pull, as in {@link #hit}.
   * @returns undefined if the download of another repository could not begin, or the download is over: the caller starts again.
   */
  async #join(
    question: BlobQuestion,
    running: Run,
    { signal, wasAsked, isLinked }: Waiting & { readonly wasAsked: boolean; readonly isLinked: boolean },
  ): Promise<ServedBlob | undefined> {
    const started = await this.#deps.downloads.join(running, question.repositoryId, { signal });
    if (!started) return undefined;
    if (started.kind === 'no-room') return this.#unstored.relay(question, { ...started, signal, isLinked });
    const { download } = started;
    if (download.isOver) {
      await abortable(download.ended, signal); // Until then the same download would be found again.
      return undefined;
    }
    this.#deps.observer.collapsed({ kind: 'blob' });
    const cache = wasAsked ? firstPull : { ...collapsed, via: running.via };
    return this.#following(question, { download, cache, signal });
  }

  async #download(question: BlobQuestion, { signal }: Waiting): Promise<ServedBlob> {
    this.#upstreamBlobs.throwIfMissing(question);
    const { upstream, repositoryId, digest } = question;
    const { downloads, manifests } = this.#deps;
    const running = downloads.start({
      repositoryId,
      digest,
      blob: this.#upstreamBlobs.remote(question),
      label: upstream.label,
      maxConnections: upstream.maxConnections,
      promisedSize: manifests.promisedSizes.get(blobName(question)),
    });
    const started = await downloads.wait(running, { signal });
    if (started.kind === 'no-room') {
      this.#unstored.rememberNoRoom(question, started.size);
      return this.#unstored.relay(question, { ...started, signal, isLinked: false });
    }
    const { download } = started;
    void download.ended.then(({ result }) => {
      if (result === 'no_room') this.#unstored.rememberOverrun(question, download.size);
    });
    return this.#following(question, { download, cache: { ...firstPull, via: running.via }, signal });
  }

  async #following(
    question: BlobQuestion,
    { download, ...facts }: Waiting & { readonly download: Download; readonly cache: CacheStatus },
  ): Promise<ServedBlob> {
    const { links, relays } = this.#deps;
    const { firstServedAtMs } = links.confirm(question.repositoryId, question.digest);
    const answer = await followingAnswer(question, download, { ...facts, firstServedAtMs });
    const following = this.#stored.following(answer, download);
    const receivedBytes = () => download.receivedBytes;
    const { ended } = download;
    if (!question.partOf) return { ...following, receivedBytes, ended };
    const blob = this.#upstreamBlobs.remote(question);
    const source = partsAhead(question, download, { following: following.source, relays, blob });
    return { ...following, source, receivedBytes };
  }
}
