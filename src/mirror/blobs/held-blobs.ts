import { setImmediate as nextTurn } from 'node:timers/promises';
import { abortable } from '../concurrency/abortable-wait.ts';
import type { Downloads } from '../downloads/downloads.ts';
import type { Run } from '../downloads/run.ts';
import type { StoredBlob } from '../ports/blob-store.ts';
import type { BlobRecord } from '../ports/record-store.ts';
import { isSameRepository } from '../ports/repository-id.ts';
import type { ContentQuestion } from '../ports/shared-work.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { Relays } from '../relays/relays.ts';
import { followingAnswer, type ServedBlob, type StoredBlobs } from './served-blob.ts';
import { unlessWrong } from './unstored-blobs.ts';

export interface HeldBlobsDeps {
  readonly downloads: Pick<Downloads, 'find' | 'wait'>;
  readonly relays: Pick<Relays, 'joinRunning'>;
  readonly storedBlobs: Pick<StoredBlobs, 'open' | 'following'>;
  /** The link of the repository. @throws RememberedNotFound */
  readonly linkOf: (question: ContentQuestion) => Promise<BlobRecord | undefined>;
  /** The answer from the store. It counts as a use. */
  readonly hit: (question: ContentQuestion, stored: StoredBlob, link: BlobRecord) => ServedBlob;
}

/** How a sibling waits. */
export interface HeldOptions extends Waiting {
  /**
   * Whether only what can be read at once is answered: of a blob that is still arriving, what has more than `start` bytes. Replicas whose
   * upstream gives no answer ask each other, and would wait for each other; so they ask only those that are further than they are.
   */
  readonly atOnce: boolean;
  /** The first byte that is wanted; absent: that of the blob. */
  readonly start?: number | undefined;
}

/** A download, or a relay, that is shared with clients. */
const following = { word: 'collapsed' } as const;

/** Blobs as siblings read them: whatever their state, no request is made to an upstream. */
export class HeldBlobs {
  readonly #deps: HeldBlobsDeps;

  constructor(deps: HeldBlobsDeps) {
    this.#deps = deps;
  }

  /** @returns undefined if the blob is not here, or could not be fetched. @throws the signal's reason. */
  async open(question: ContentQuestion, options: HeldOptions): Promise<ServedBlob | undefined> {
    const { downloads, storedBlobs, hit } = this.#deps;
    const { signal, atOnce, start = 0 } = options;
    const { repositoryId, digest } = question;
    const link = await this.#deps.linkOf(question).catch(() => undefined);
    const joinRelay = () => this.#joinRelay({ ...question, isLinked: link !== undefined }, options);
    for (;;) {
      signal.throwIfAborted();
      const running = downloads.find(repositoryId.upstream, digest);
      const isShared = running && (link ?? isSameRepository(running.order.repositoryId, repositoryId));
      const hasMore = (running?.download?.receivedBytes ?? 0) > start;
      if (running && isShared && (hasMore || !atOnce)) {
        const joined = await this.#join(question, running, { signal });
        // If it has no room, its clients begin to relay it in this turn of the event loop.
        const held = joined === 'no-room' ? ((await joinRelay()) ?? (await nextTurn())) : joined;
        if (held) return held;
        continue;
      }
      const stored = link && (await storedBlobs.open(digest, link));
      if (link && stored && stored !== 'unreadable') return hit(question, stored, link);
      return joinRelay();
    }
  }

  /** @returns undefined if it could not begin, or is over. */
  async #join(
    question: ContentQuestion,
    running: Run,
    { signal }: Waiting,
  ): Promise<ServedBlob | 'no-room' | undefined> {
    try {
      const started = await this.#deps.downloads.wait(running, { signal });
      if (started.kind === 'no-room') return 'no-room';
      const { download } = started;
      if (download.isOver) {
        await abortable(download.ended, signal); // Until then the same download would be found again.
        return undefined;
      }
      const facts = { cache: following, firstServedAtMs: 0, signal, mayAskForRest: false };
      return this.#deps.storedBlobs.following(await followingAnswer(question, download, facts), download);
    } catch {
      signal.throwIfAborted();
      return undefined; // The download reports its failure itself.
    }
  }

  async #joinRelay(
    relayed: ContentQuestion & { readonly isLinked: boolean },
    options: HeldOptions,
  ): Promise<ServedBlob | undefined> {
    const { signal } = options;
    try {
      const joined = await this.#deps.relays.joinRunning(relayed, options);
      if (!joined) return undefined;
      await unlessWrong(joined, signal);
      const { size, source } = joined;
      return { digest: relayed.digest, size, source, cache: following, firstServedAtMs: 0, isSequential: false };
    } catch {
      signal.throwIfAborted();
      return undefined;
    }
  }
}
