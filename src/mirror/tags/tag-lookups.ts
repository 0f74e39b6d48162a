import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { TagRecord } from '../ports/record-store.ts';
import type { FetchedManifest, ManifestHead } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import type { Manifests } from '../manifests/manifests.ts';
import type { ResolvedTag, StaleFallbacks, TagQuestion } from './stale-fallbacks.ts';
import type { TagRecords } from './tag-records.ts';

export interface TagLookupsDeps {
  readonly tagRecords: Pick<TagRecords, 'put'>;
  readonly manifests: Pick<Manifests, 'keep'>;
  readonly fallbacks: Pick<StaleFallbacks, 'forget'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly observer: Pick<Observer, 'tagRevalidated'>;
}

/** Asks upstreams what tags point to, and records the answers. */
export class TagLookups {
  readonly #deps: TagLookupsDeps;

  constructor(deps: TagLookupsDeps) {
    this.#deps = deps;
  }

  /** One HEAD for a known tag. If the tag has moved, the manifest is not fetched here, unless HEAD does not tell digest, type and size. */
  async revalidate(question: TagQuestion, known: TagRecord, waiting: Waiting): Promise<ResolvedTag> {
    const head = await headOf(question, waiting);
    const { digest, fetched } = head;
    if (fetched && fetched.digest !== known.digest) return this.#keep(question, known, fetched);
    if (digest !== undefined && digest === known.digest)
      return this.#record(question, { ...known, confirmedAtMs: this.#deps.clock.now() }, known);
    return isComplete(head)
      ? this.#record(question, this.#recordOf(head, known), known)
      : this.get(question, known, waiting);
  }

  /** One HEAD for an unknown tag. The manifest is fetched only if HEAD does not tell digest, type and size. */
  async head(question: TagQuestion, waiting: Waiting): Promise<ResolvedTag> {
    const head = await headOf(question, waiting);
    if (head.fetched) return this.#keep(question, undefined, head.fetched);
    return isComplete(head)
      ? this.#record(question, this.#recordOf(head, undefined), undefined)
      : this.get(question, undefined, waiting);
  }

  /** Fetches the manifest that a tag points to. */
  async get(question: TagQuestion, known: TagRecord | undefined, waiting: Waiting): Promise<ResolvedTag> {
    const { upstream, repositoryId, tag } = question;
    return this.#keep(question, known, await upstream.getManifest(repositoryId.repository, tag, waiting));
  }

  #keep(question: TagQuestion, known: TagRecord | undefined, fetched: FetchedManifest): ResolvedTag {
    const { digest, mediaType, bytes } = this.#deps.manifests.keep(question.repositoryId, fetched);
    const record = this.#recordOf({ digest, mediaType, size: bytes.byteLength }, known);
    return { ...this.#record(question, record, known), cache: { word: 'miss', upstreamStatus: 200, stored: true } };
  }

  #recordOf({ digest, mediaType, size }: CompleteHead, known: TagRecord | undefined): TagRecord {
    const previous = known?.digest === digest ? known.previous : known?.digest;
    return { digest, mediaType, size, confirmedAtMs: this.#deps.clock.now(), ...(previous && { previous }) };
  }

  #record(
    { upstream, repositoryId, tag, key }: TagQuestion,
    record: TagRecord,
    known: TagRecord | undefined,
  ): ResolvedTag {
    const { tagRecords, fallbacks, observer } = this.#deps;
    tagRecords.put(repositoryId, tag, record);
    fallbacks.forget(key);
    const isSame = known?.digest === record.digest;
    if (known) observer.tagRevalidated({ upstream: upstream.label, result: isSame ? 'not_modified' : 'changed' });
    return { record, cache: { word: isSame ? 'revalidated' : 'miss', upstreamStatus: 200 } };
  }
}

type CompleteHead = Pick<TagRecord, 'digest' | 'mediaType' | 'size'>;

function headOf({ upstream, repositoryId, tag }: TagQuestion, waiting: Waiting): Promise<ManifestHead> {
  return upstream.headManifest(repositoryId.repository, tag, waiting);
}

function isComplete(head: ManifestHead): head is ManifestHead & CompleteHead {
  return head.digest !== undefined && head.mediaType !== undefined && head.size !== undefined;
}
