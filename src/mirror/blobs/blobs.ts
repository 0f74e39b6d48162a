import type { Digest } from '../../oci/digest.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { StoredBlobs } from './stored-blobs.ts';
import { UnstoredBlobs } from './unstored-blobs.ts';
import { UpstreamBlobs } from './upstream-blobs.ts';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { UpstreamWaiters } from '../concurrency/upstream-waiters.ts';
import type { Download } from '../downloads/download.ts';
import type { Downloads } from '../downloads/downloads.ts';
import type { Relays } from '../relays/relays.ts';
import type { Run } from '../downloads/run.ts';
import type { FreshnessPolicies } from '../tags/freshness.ts';
import type { BlobLinks } from '../access/links.ts';
import type { Manifests } from '../manifests/manifests.ts';
import type { BlobStore, StoredBlob } from '../ports/blob-store.ts';
import type { CacheStatus } from '../ports/cache-status.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Index } from '../ports/store-index.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { BlobRecord } from '../ports/record-store.ts';
import { isSameRepository } from '../ports/repository-id.ts';
import {
  type BlobHead,
  type BlobQuestion,
  followingAnswer,
  nameOf,
  type ServedBlob,
  storedAnswer,
} from './served-blob.ts';
import { type RatedBodiesDeps, ratedBody } from './rated-source.ts';
import { partsAhead } from './parts-ahead.ts';
import type { Space } from '../eviction/space.ts';
import { type Shared, SingleFlight } from '../concurrency/single-flight.ts';
import { unlessUnreadable } from './unreadable.ts';

export interface BlobsDeps extends RatedBodiesDeps {
  readonly store: Pick<BlobStore, 'quarantine'>;
  readonly storedBlobs: StoredBlobs;
  readonly links: BlobLinks;
  readonly manifests: Pick<Manifests, 'promisedSize'>;
  readonly downloads: Downloads;
  readonly waiters: Pick<UpstreamWaiters, 'wait'> & RatedBodiesDeps['waiters'];
  readonly index: Index;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policies: FreshnessPolicies;
  readonly relays: Relays;
  readonly space: Pick<Space, 'couldHold'>;
  /** Hash every stored blob again while it is read. */
  readonly verifyReads: boolean;
}

const firstPull: CacheStatus = { word: 'miss', upstreamStatus: 200, stored: true };
const collapsed: CacheStatus = { word: 'collapsed', upstreamStatus: 200 };

/** Blobs by digest: after the link check a running download, else the store, else a download. Without a link the upstream decides first. */
export class Blobs {
  readonly #deps: BlobsDeps;
  readonly #confirmations = new SingleFlight<BlobRecord>();
  readonly #heads = new SingleFlight<BlobRecord>();
  readonly #upstreamBlobs: UpstreamBlobs;
  readonly #stored: StoredBlobs;
  readonly #unstored: UnstoredBlobs;

  constructor(deps: BlobsDeps) {
    this.#deps = deps;
    this.#upstreamBlobs = new UpstreamBlobs(deps);
    this.#stored = deps.storedBlobs;
    this.#unstored = new UnstoredBlobs({
      ...deps,
      head: (question, waiting) => this.#head(question, (ask) => ask(), waiting),
      upstreamBlobs: this.#upstreamBlobs,
    });
  }

  /** @throws OciError BLOB_UNKNOWN; UpstreamError when it is not cached and no answer came. */
  async open(question: BlobQuestion, waiting: Waiting): Promise<ServedBlob> {
    const { of, digest } = question;
    const { downloads } = this.#deps;
    const counted = <Value>(wait: () => Promise<Value>) => this.#deps.waiters.wait(question.upstream.label, wait);
    const rated = <Served extends ServedBlob | undefined>(opened: () => Promise<Served>) =>
      ratedBody(question.upstream.label, opened, this.#deps);
    let link = await this.#linkOf(question);
    let wasAsked = false;
    for (;;) {
      const running = downloads.find(of.upstream, digest);
      if (running && (link || isSameRepository(running.order.repositoryId, of))) {
        const isLinked = link !== undefined;
        const join = () => this.#join(question, running, { signal: waiting.signal, wasAsked, isLinked });
        const joined = await rated(() => (running.isAnswered ? join() : counted(join)));
        if (joined) return joined;
        continue;
      }
      if (!link && (running || (await this.#mayBeHere(digest)))) {
        link = await counted(() => this.#confirm(question, waiting));
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
      const relayed = { signal: waiting.signal, isLinked };
      const openWithoutRoom = () => this.#unstored.openWithoutRoom(question, relayed);
      const unstored = await rated(() => counted(openWithoutRoom));
      if (unstored) return unstored;
      if (downloads.find(of.upstream, digest)) continue;
      return rated(() => counted(() => this.#download(question, waiting)));
    }
  }

  /**
   * Whether the repository may serve the blob. A remembered 404 comes before anything that depends on what other repositories hold, and the
   * store is not touched without a link: how long an answer takes must not tell what is here.
   */
  async #linkOf(question: BlobQuestion): Promise<BlobRecord | undefined> {
    const { of, digest } = question;
    const own = await this.#deps.links.own(of, digest);
    if (own) return own;
    this.#upstreamBlobs.throwIfMissing(question);
    return this.#deps.links.borrow(of, digest);
  }

  /**
   * Whether some repository has brought the blob, as far as the index knows: then the upstream is only asked to confirm it. What the index
   * does not know yet comes again.
   */
  async #mayBeHere(digest: Digest): Promise<boolean> {
    const { index, observer } = this.#deps;
    return (await unlessUnreadable(observer, 'index', () => index.hasContent(digest))) ?? false;
  }

  /**
   * A HEAD: never a download. Nor is it remembered that the upstream has the blob: a GET after it would otherwise be a hit where
   * another repository brought the bytes, and a miss where nobody did.
   */
  async head(question: BlobQuestion, waiting: Waiting): Promise<BlobHead> {
    return this.#head(question, (ask) => this.#deps.waiters.wait(question.upstream.label, ask), waiting);
  }

  /** @param counted runs what waits for the upstream. */
  async #head(
    question: BlobQuestion,
    counted: (ask: () => Promise<Shared<BlobRecord>>) => Promise<Shared<BlobRecord>>,
    waiting: Waiting,
  ): Promise<BlobHead> {
    const { of, digest } = question;
    const link = await this.#linkOf(question);
    const size = link && (await this.#sizeOfCached(question, link));
    if (link && size !== undefined) return { size, cache: { word: 'hit' }, firstServedAtMs: link.firstServedAtMs };
    this.#upstreamBlobs.throwIfMissing(question);
    const ask = async (flight: Waiting) => {
      const { size: told } = await this.#upstreamBlobs.head(question, flight);
      return { firstServedAtMs: this.#deps.clock.now(), ...(told !== undefined && { size: told }) };
    };
    const look = (flight: Waiting) => this.#orAfterRebuild(question, flight, () => ask(flight));
    const { value, collapsed } = await counted(() => this.#heads.run(nameOf(question), look, waiting));
    return {
      size: value.size ?? this.#deps.manifests.promisedSize(of, digest),
      cache: { word: collapsed ? 'collapsed' : 'miss', upstreamStatus: 200 },
      firstServedAtMs: (link ?? value).firstServedAtMs,
    };
  }

  async #sizeOfCached({ of, digest }: BlobQuestion, link: BlobRecord): Promise<number | undefined> {
    // One that has not begun, and may wait for its upstream or for a place, tells nothing yet.
    const begun = this.#deps.downloads.find(of.upstream, digest)?.download;
    if (begun && !begun.isOver) return begun.size;
    const stored = await this.#stored.open(digest, link);
    if (stored === 'unreadable') return link.size;
    await stored?.[Symbol.asyncDispose]();
    return stored?.size;
  }

  /**
   * A hit; but where this repository had to be confirmed first, the answer looks like any first pull: whether the bytes were here
   * already says what another repository holds.
   */
  #hit(
    question: BlobQuestion,
    stored: StoredBlob,
    { firstServedAtMs, size }: BlobRecord,
    wasAsked: boolean,
  ): ServedBlob {
    const { index, clock, store, verifyReads } = this.#deps;
    const { digest } = question;
    index.noteUse(digest, clock.now());
    index.noteRepositoryUse(question.of, clock.now());
    // Where nobody vouches for the size of the file, its bytes must.
    const onDamaged = verifyReads || size === undefined ? () => store.quarantine(digest, 'read') : undefined;
    const cache: CacheStatus = wasAsked ? firstPull : { word: 'hit' };
    const told = wasAsked ? (size ?? this.#deps.manifests.promisedSize(question.of, digest)) : stored.size;
    const answer = storedAnswer(question, stored, { cache, firstServedAtMs, size: told, onDamaged });
    return this.#stored.tellingOfDisk(answer, { isStored: true });
  }

  /**
   * What was confirmed first looks like any first pull here too.
   * @returns undefined when somebody else's start failed, or it is over: this caller looks again.
   */
  async #join(
    question: BlobQuestion,
    running: Run,
    { signal, wasAsked, isLinked }: Waiting & { readonly wasAsked: boolean; readonly isLinked: boolean },
  ): Promise<ServedBlob | undefined> {
    const started = await this.#deps.downloads.join(running, question.of, { signal });
    if (!started) return undefined;
    if (started.kind === 'no-room') return this.#unstored.relay(question, { ...started, signal, isLinked });
    const { download } = started;
    if (download.isOver) {
      await abortable(download.ended, signal); // From then on it is not found any more.
      return undefined;
    }
    this.#deps.observer.collapsed({ kind: 'blob' });
    return this.#following(question, { download, cache: wasAsked ? firstPull : collapsed, signal });
  }

  async #download(question: BlobQuestion, { signal }: Waiting): Promise<ServedBlob> {
    this.#upstreamBlobs.throwIfMissing(question);
    const { upstream, of, digest } = question;
    const { downloads, manifests } = this.#deps;
    const running = downloads.start({
      repositoryId: of,
      digest,
      blob: this.#upstreamBlobs.remote(question),
      label: upstream.label,
      maxConnections: upstream.maxConnections,
      promisedSize: manifests.promisedSize(of, digest),
    });
    const started = await downloads.wait(running, { signal });
    if (started.kind === 'no-room') {
      this.#unstored.noteNoRoom(question, started.size);
      return this.#unstored.relay(question, { ...started, signal, isLinked: false });
    }
    const { download } = started;
    void download.ended.then(({ result }) => {
      if (result === 'no_room') this.#unstored.noteOverrun(question, download.size);
    });
    return this.#following(question, { download, cache: firstPull, signal });
  }

  async #following(
    question: BlobQuestion,
    { download, ...told }: Waiting & { readonly download: Download; readonly cache: CacheStatus },
  ): Promise<ServedBlob> {
    const { links, relays } = this.#deps;
    const { firstServedAtMs } = links.confirm(question.of, question.digest);
    const answer = await followingAnswer(question, download, { ...told, firstServedAtMs });
    const following = this.#stored.tellingOfDisk(answer);
    const blob = this.#upstreamBlobs.remote(question);
    return { ...following, source: partsAhead(question, download, { following: following.source, relays, blob }) };
  }

  /** The bytes are here, but not known to be this repository's: its upstream is asked once, and the answer recorded. */
  async #confirm(question: BlobQuestion, waiting: Waiting): Promise<BlobRecord> {
    this.#upstreamBlobs.throwIfMissing(question);
    const ask = (flight: Waiting) => this.#orAfterRebuild(question, flight, () => this.#askToConfirm(question, flight));
    return (await this.#confirmations.run(nameOf(question), ask, waiting)).value;
  }

  async #askToConfirm(question: BlobQuestion, waiting: Waiting): Promise<BlobRecord> {
    const { of, digest } = question;
    const { links } = this.#deps;
    const claimed = await this.#upstreamBlobs.confirm(question, waiting);
    const stored = await this.#stored.open(digest, undefined);
    const confirmed = links.confirm(of, digest);
    if (!stored || stored === 'unreadable') return confirmed;
    await stored[Symbol.asyncDispose]();
    // A registry that lies about the size must not make us doubt a file that is right.
    const size = claimed.size === stored.size ? stored.size : undefined;
    links.recordShared(of, digest, size);
    return { ...confirmed, ...(size !== undefined && { size }) };
  }

  /** While the index is being rebuilt it may not know yet that a manifest of this repository names the blob. */
  async #orAfterRebuild(
    { of, digest }: BlobQuestion,
    waiting: Waiting,
    ask: () => Promise<BlobRecord>,
  ): Promise<BlobRecord> {
    try {
      return await ask();
    } catch (cause) {
      if (!(cause instanceof UpstreamError)) throw cause;
      await this.#deps.index.whenComplete(waiting);
      const link = await this.#deps.links.check(of, digest);
      if (!link) throw cause;
      return link;
    }
  }
}
