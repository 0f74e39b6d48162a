import { LRUCache } from 'lru-cache';
import { parseTagRecord, type RecordKey } from '../../../mirror/ports/record-store.ts';
import { type RepositoryId, repositoryKey } from '../../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import type { Digest } from '../../../oci/digest.ts';
import { CallRejected } from '../access/calls.ts';
import type { BucketObjects } from '../access/objects.ts';
import type { BucketLayout } from '../bucket-layout.ts';
import type { BucketRecords } from '../bucket-records.ts';
import { parallel } from '../../../mirror/concurrency/parallel.ts';

export interface TagsOfManifestsDeps {
  readonly objects: Pick<BucketObjects, 'list'>;
  readonly records: Pick<BucketRecords, 'read'>;
  readonly layout: BucketLayout;
}

type TagKey = RecordKey & { readonly kind: 'tag' };

const readTogether = 64;
/** Of all repositories. Those of one that has more are read again for each manifest that is removed. */
const maxRemembered = 100_000;

/**
 * Which tags point at a manifest. A listing does not tell, so the tags of a repository are read, but only once a manifest of it is to be removed:
 * in most sweeps of most repositories, never.
 */
export class TagsOfManifests {
  readonly #deps: TagsOfManifestsDeps;
  readonly #waiting: Waiting;
  readonly #known: LRUCache<string, Map<Digest, readonly TagKey[]>>;

  constructor(deps: TagsOfManifestsDeps, waiting: Waiting) {
    this.#deps = deps;
    this.#waiting = waiting;
    const sizeCalculation = (tags: Map<Digest, readonly TagKey[]>) =>
      tags.values().reduce((sum, keys) => sum + keys.length, 1);
    this.#known = new LRUCache({ maxSize: maxRemembered, sizeCalculation });
  }

  /** As they were when the repository was read. @throws UpstreamError when the bucket gives no answer. */
  async of(repositoryId: RepositoryId, digest: Digest): Promise<readonly TagKey[]> {
    return (await this.#ofRepository(repositoryId)).get(digest) ?? [];
  }

  /** All of a repository, likewise. */
  async all(repositoryId: RepositoryId): Promise<readonly TagKey[]> {
    return [...(await this.#ofRepository(repositoryId)).values()].flat();
  }

  /** They need not be removed again with their repository. */
  removed(repositoryId: RepositoryId, digest: Digest): void {
    this.#known.get(repositoryKey(repositoryId))?.delete(digest);
  }

  async #ofRepository(repositoryId: RepositoryId): Promise<Map<Digest, readonly TagKey[]>> {
    const name = repositoryKey(repositoryId);
    const known = this.#known.get(name);
    if (known) return known;
    const tags = new Map<Digest, readonly TagKey[]>();
    const read = parallel(this.#keys(repositoryId), readTogether, async (key) => ({
      key,
      digest: await this.#read(key),
    }));
    for await (const { key, digest } of read) if (digest) tags.set(digest, [...(tags.get(digest) ?? []), key]);
    this.#known.set(name, tags);
    return tags;
  }

  async *#keys(repositoryId: RepositoryId): AsyncGenerator<TagKey> {
    const { objects, layout } = this.#deps;
    for await (const page of objects.list(layout.tags(repositoryId), this.#waiting)) {
      for (const { key: name } of page) {
        const key = layout.recordAt(name);
        if (key?.kind === 'tag') yield key;
      }
    }
  }

  /** One that the bucket refuses, or that is no record of a tag, stays. */
  async #read(key: TagKey): Promise<Digest | undefined> {
    try {
      const value = await this.#deps.records.read(key, { ...this.#waiting, kind: 'write' });
      return parseTagRecord(value, key.tag)?.digest;
    } catch (cause) {
      if (cause instanceof CallRejected) return undefined;
      throw cause;
    }
  }
}
