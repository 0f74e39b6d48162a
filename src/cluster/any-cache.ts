import type { OtherCache } from '../mirror/ports/other-caches.ts';
import type { TagRecord, VisibilityRecord } from '../mirror/ports/record-store.ts';
import type { RepositoryId } from '../mirror/ports/repository-id.ts';
import type { ByteRange, FetchedManifest, OpenedBlob } from '../mirror/ports/upstream.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import type { Digest } from '../oci/digest.ts';
import type { Tag } from '../oci/reference.ts';
import { firstFound, someFound } from './first-found.ts';
import type { Membership } from './membership.ts';
import type { Sibling } from './sibling-client.ts';
import type { Siblings } from './siblings.ts';

export interface AnyCacheDeps {
  readonly membership: Pick<Membership, 'others'>;
  readonly siblings: Pick<Siblings, 'at'>;
  /** The bucket, if there is one: asked when no sibling has an answer. */
  readonly bucket?: OtherCache | undefined;
  /** In [0, 1), for the order of siblings. */
  readonly random?: () => number;
}

/** A blob, and the replica that sends it. */
export interface FoundBlob {
  readonly replicaId: string;
  readonly opened: OpenedBlob;
}

/** A live sibling that can be asked. */
interface Place {
  readonly replicaId: string;
  readonly cache: Sibling;
}

type RangeWaiting = Waiting & { readonly range?: ByteRange };

/** How many siblings are asked at the same time. */
const together = 8;
/** A client waits for all of it: what no sibling answered by then counts as not there. */
const withinMs = 5_000;

/**
 * All other caches as one: the live siblings, whatever Redis knows of what they hold, and the bucket. It is asked when the upstream gives no
 * answer, and siblings may ask this replica for the same reason: none waits for what another has only begun to ask for. Blobs and manifests come from the first that has them; a tag or verdict is the newest of those that were asked together.
 */
export class AnyCache implements OtherCache {
  readonly #deps: AnyCacheDeps;

  constructor(deps: AnyCacheDeps) {
    this.#deps = deps;
  }

  async openBlob(repositoryId: RepositoryId, digest: Digest, options: RangeWaiting): Promise<OpenedBlob | undefined> {
    const found = await this.openAtSibling(repositoryId, digest, { ...options, except: new Set() });
    return found?.opened ?? this.#deps.bucket?.openBlob(repositoryId, digest, options);
  }

  /** Opens a blob at any sibling but some. */
  openAtSibling(
    repositoryId: RepositoryId,
    digest: Digest,
    { signal, range, except }: RangeWaiting & { readonly except: ReadonlySet<string> },
  ): Promise<FoundBlob | undefined> {
    const ask = async ({ replicaId, cache }: Place, waiting: Waiting): Promise<FoundBlob | undefined> => {
      const opened = await cache.openBlob(repositoryId, digest, {
        ...waiting,
        ...(range && { range }),
        atOnce: true,
      });
      return opened && { replicaId, opened: { ...opened, origin: 'sibling', via: 'sibling' } };
    };
    const places = this.#places().filter(({ replicaId }) => !except.has(replicaId));
    const drop = ({ opened }: FoundBlob) => void opened.body.destroy();
    return firstFound(places, ask, { signal, together, withinMs, drop });
  }

  async manifest(repositoryId: RepositoryId, digest: Digest, waiting: Waiting): Promise<FetchedManifest | undefined> {
    const ask = ({ cache }: Place, asking: Waiting) =>
      cache.manifest(repositoryId, digest, { ...asking, atOnce: true });
    const found = await firstFound(this.#places(), ask, { signal: waiting.signal, together, withinMs });
    return found ?? this.#deps.bucket?.manifest(repositoryId, digest, waiting);
  }

  async tag(repositoryId: RepositoryId, tag: Tag, waiting: Waiting): Promise<TagRecord | undefined> {
    const ask = ({ cache }: Place, asking: Waiting) => cache.tag(repositoryId, tag, asking);
    const found = await someFound(this.#places(), ask, { signal: waiting.signal, together, withinMs });
    return newest(found, ({ confirmedAtMs }) => confirmedAtMs) ?? this.#deps.bucket?.tag(repositoryId, tag, waiting);
  }

  /** Of two verdicts of the same age, `hidden` counts. */
  async visibility(repositoryId: RepositoryId, waiting: Waiting): Promise<VisibilityRecord | undefined> {
    const ask = ({ cache }: Place, asking: Waiting) => cache.visibility(repositoryId, asking);
    const found = await someFound(this.#places(), ask, { signal: waiting.signal, together, withinMs });
    const ageOf = ({ askedAtMs, verdict }: VisibilityRecord) => askedAtMs + (verdict === 'hidden' ? 0.5 : 0);
    return newest(found, ageOf) ?? this.#deps.bucket?.visibility(repositoryId, waiting);
  }

  /** In random order, so that not all replicas ask the same ones first. */
  #places(): readonly Place[] {
    const { membership, siblings, random = Math.random } = this.#deps;
    const places = membership.others.flatMap(({ id, address }) => {
      const cache = siblings.at(address);
      return cache ? [{ replicaId: id, cache, order: random() }] : [];
    });
    return places.toSorted((one, other) => one.order - other.order);
  }
}

function newest<Record>(records: readonly Record[], atMs: (record: Record) => number): Record | undefined {
  return records.toSorted((one, other) => atMs(other) - atMs(one))[0];
}
