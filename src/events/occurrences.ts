import { boundedMap } from '../mirror/concurrency/remembered.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import { contentKey, repositoryKey } from '../mirror/ports/repository-id.ts';
import { lowShare } from '../mirror/ports/upstream.ts';
import { EvictedContent, type EvictedContentDeps } from './evicted-content.ts';

type Seen<Name extends keyof Observer> = Parameters<Observer[Name]>[0];

/** The account is told of again after it had this share. */
const recoveredShare = 0.2;
/** Images that were told of, so that two clients that store the same one at the same time are one event. */
const maxRemembered = 1_000;

/** Finds what is worth telling in what the mirror reports to its observer. */
export class Occurrences {
  readonly #tell: EvictedContentDeps['tell'];
  readonly #evicted: EvictedContent;
  readonly #down = new Set<string>();
  readonly #low = new Set<string>();
  readonly #stored = boundedMap<string, true>(maxRemembered);

  constructor({ tell, wait }: EvictedContentDeps) {
    this.#tell = tell;
    this.#evicted = new EvictedContent({ tell, wait });
  }

  /** An observer that finds them, and passes everything on. */
  observing<Observed extends Observer>(observer: Observed): Observed {
    return {
      ...observer,
      imageStored: (event) => {
        this.#imageStored(event);
        observer.imageStored(event);
      },
      tagMoved: (event) => {
        this.#tagMoved(event);
        observer.tagMoved(event);
      },
      evicted: (event) => {
        this.#leftTheStore(event);
        observer.evicted(event);
      },
      corruptionFound: (event) => {
        const { digest, source } = event;
        this.#tell({ type: 'io.layerwell.content.quarantined', subject: digest, data: { digest, source } });
        observer.corruptionFound(event);
      },
      circuitChanged: (event) => {
        this.#circuitChanged(event);
        observer.circuitChanged(event);
      },
      rateLimitSeen: (event) => {
        this.#rateLimitSeen(event);
        observer.rateLimitSeen(event);
      },
    };
  }

  /** Tells of the evictions that are still being gathered. */
  flush(): void {
    this.#evicted.flush();
  }

  #imageStored({ repositoryId, manifest }: Seen<'imageStored'>): void {
    const key = contentKey(repositoryId, manifest.digest);
    if (this.#stored.get(key)) return;
    this.#stored.set(key, true);
    const repository = repositoryKey(repositoryId);
    const { digest, mediaType, size } = manifest;
    this.#tell({
      type: 'io.layerwell.image.stored',
      subject: repository,
      data: { repository, digest, mediaType, size },
    });
  }

  #tagMoved({ repositoryId, tag, from, to }: Seen<'tagMoved'>): void {
    const repository = repositoryKey(repositoryId);
    const { digest, mediaType, size } = to;
    const data = { repository, tag, from, to: digest, mediaType, size };
    this.#tell({ type: 'io.layerwell.tag.moved', subject: repository, data });
  }

  #leftTheStore({ reason, bytes, content }: Seen<'evicted'>): void {
    if (content === undefined) return;
    for (const record of content.records) {
      if (record.kind === 'manifest') this.#stored.delete(contentKey(record.repositoryId, record.digest));
    }
    this.#evicted.add({ reason, bytes, content });
  }

  #circuitChanged({ upstream, endpoint, state }: Seen<'circuitChanged'>): void {
    const key = `${endpoint} ${upstream}`;
    const data = { upstream, endpoint };
    if (state === 'open' && !this.#down.has(key)) {
      this.#down.add(key);
      this.#tell({ type: 'io.layerwell.upstream.down', subject: upstream, data });
    }
    if (state === 'closed' && this.#down.delete(key)) {
      this.#tell({ type: 'io.layerwell.upstream.up', subject: upstream, data });
    }
  }

  #rateLimitSeen({ upstream, account, limit, remaining, windowSeconds }: Seen<'rateLimitSeen'>): void {
    const key = `${account} ${upstream}`;
    if (remaining >= limit * recoveredShare) this.#low.delete(key);
    if (remaining >= limit * lowShare || this.#low.has(key)) return;
    this.#low.add(key);
    this.#tell({
      type: 'io.layerwell.upstream.rate_limit_low',
      subject: upstream,
      data: { upstream, account, limit, remaining, ...(windowSeconds !== undefined && { windowSeconds }) },
    });
  }
}
