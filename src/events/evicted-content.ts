import type { Observer } from '../mirror/ports/observer.ts';
import type { RecordKey } from '../mirror/ports/record-store.ts';
import { contentKey, repositoryKey } from '../mirror/ports/repository-id.ts';
import type { Occurrence } from './event.ts';

type Evicted = Required<Parameters<Observer['evicted']>[0]>;

/** What leaves the store within this time for one reason is one event. */
export const gatheredForMs = 10_000;
/** The most images, and the most tags, that one event lists; and of each list the most characters: an event stays below 64 KiB. */
const maxListed = 100;
const maxCharacters = 16 * 1024;

export interface EvictedContentDeps {
  /** Must not throw, and must not wait. */
  readonly tell: (occurrence: Occurrence) => void;
  /** Resolves after so many milliseconds. Rejects when the signal aborts. */
  readonly wait: (ms: number, options: { readonly signal: AbortSignal }) => Promise<void>;
}

/** Gathers what leaves the store: ten thousand blobs are one event. */
export class EvictedContent {
  readonly #deps: EvictedContentDeps;
  readonly #gathered = new Map<Evicted['reason'], Gathered>();
  #stopWaiting: AbortController | undefined;

  constructor(deps: EvictedContentDeps) {
    this.#deps = deps;
  }

  add({ reason, bytes, content }: Evicted): void {
    const gathered = this.#gathered.get(reason) ?? new Gathered();
    this.#gathered.set(reason, gathered);
    gathered.add(bytes, content);
    this.#flushLater();
  }

  /** Tells of what was gathered, without waiting for more. */
  flush(): void {
    this.#stopWaiting?.abort();
    this.#stopWaiting = undefined;
    const all = [...this.#gathered];
    this.#gathered.clear();
    for (const [reason, gathered] of all) {
      this.#deps.tell({
        type: 'io.layerwell.content.evicted',
        subject: 'store',
        data: { reason, ...gathered.summary() },
      });
    }
  }

  #flushLater(): void {
    if (this.#stopWaiting !== undefined) return;
    const waiting = new AbortController();
    this.#stopWaiting = waiting;
    const flush = () => {
      if (!waiting.signal.aborted) this.flush();
    };
    this.#deps.wait(gatheredForMs, waiting).then(flush, flush);
  }
}

/** What left for one reason. */
class Gathered {
  readonly #images = new CutList();
  readonly #tags = new CutList();
  #manifests = 0;
  #blobs = 0;
  #bytes = 0;

  add(bytes: number, { isManifest, records }: Evicted['content']): void {
    this.#bytes += bytes;
    if (isManifest) this.#manifests += 1;
    else this.#blobs += 1;
    for (const record of records) this.#addRecord(record);
  }

  #addRecord(record: RecordKey): void {
    if (record.kind === 'manifest') this.#images.add(contentKey(record.repositoryId, record.digest));
    if (record.kind === 'tag') this.#tags.add(`${repositoryKey(record.repositoryId)}:${record.tag}`);
  }

  summary() {
    return {
      manifests: this.#manifests,
      blobs: this.#blobs,
      bytes: this.#bytes,
      images: this.#images.items,
      tags: this.#tags.items,
      isComplete: !this.#images.isCut && !this.#tags.isCut,
    };
  }
}

/** A list that takes no more items when it is long. */
class CutList {
  readonly items: string[] = [];
  isCut = false;
  #characters = 0;

  add(item: string): void {
    const hasRoom = this.items.length < maxListed && this.#characters + item.length <= maxCharacters;
    if (!hasRoom) this.isCut = true;
    if (this.isCut) return;
    this.items.push(item);
    this.#characters += item.length;
  }
}
