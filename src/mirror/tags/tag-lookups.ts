import { type FreshnessPolicies, freshnessOf } from './freshness.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { TagRecord } from '../ports/record-store.ts';
import type { SharedWork, TagTurn } from '../ports/shared-work.ts';
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
  readonly observer: Pick<Observer, 'tagRevalidated' | 'tagMoved' | 'internalError'>;
  readonly policies: FreshnessPolicies;
  readonly shared: Pick<SharedWork, 'tagTurn'>;
}

/** A question that a client asks. */
export interface ClientTagQuestion extends TagQuestion {
  /** A client's HEAD never causes a GET unless the upstream's HEAD lacks digest or length. */
  readonly wantsBody: boolean;
  /** The upstream itself is asked, whatever another replica has just learnt. */
  readonly isRefresh?: boolean;
}

/** Asks upstreams what tags point to, once for all replicas, and records the answers. */
export class TagLookups {
  readonly #deps: TagLookupsDeps;

  constructor(deps: TagLookupsDeps) {
    this.#deps = deps;
  }

  /**
   * What a tag points to now: what another replica has just learnt from the upstream, if this replica's rules call that fresh; else the
   * upstream's answer, for which the other replicas wait.
   */
  async lookUp(question: ClientTagQuestion, known: TagRecord | undefined, waiting: Waiting): Promise<ResolvedTag> {
    const lifetimeMs = this.#deps.policies.tagLifetimeMs(question.upstream.label, question.key);
    // Without a lifetime no other replica's answer is fresh.
    const turn = lifetimeMs > 0 && question.isRefresh !== true ? await this.#takeTurn(question, waiting) : undefined;
    using claim = turn?.kind === 'ask' ? turn.claim : undefined;
    const confirmed = turn?.kind === 'answered' ? this.#confirmed(question, turn.record, known) : undefined;
    if (confirmed) return confirmed;
    const resolved = await this.#ask(question, known, waiting);
    claim?.answered(resolved.record, lifetimeMs);
    return resolved;
  }

  /** @returns undefined if there is no turn, or it cannot be taken: this replica asks by itself. */
  async #takeTurn({ repositoryId, tag }: TagQuestion, waiting: Waiting): Promise<TagTurn | undefined> {
    try {
      return await this.#deps.shared.tagTurn?.(repositoryId, tag, waiting);
    } catch (cause) {
      waiting.signal.throwIfAborted();
      this.#deps.observer.internalError({ part: 'shared tags', cause });
      return undefined;
    }
  }

  /** Records what another replica has learnt. @returns undefined if it is too old for the rules of this replica. */
  #confirmed(question: TagQuestion, told: TagRecord, known: TagRecord | undefined): ResolvedTag | undefined {
    const { policies, clock, tagRecords, fallbacks } = this.#deps;
    const { upstream, repositoryId, tag, key } = question;
    const confirmedAtMs = Math.min(told.confirmedAtMs, clock.now());
    const lifetimeMs = policies.tagLifetimeMs(upstream.label, key);
    if (freshnessOf(confirmedAtMs, lifetimeMs, clock.now()) !== 'fresh') return undefined;
    const record = recordOf(told, { known, confirmedAtMs });
    tagRecords.put(repositoryId, tag, record);
    fallbacks.forget(key);
    return { record, cache: { word: 'hit' } };
  }

  #ask(question: ClientTagQuestion, known: TagRecord | undefined, waiting: Waiting): Promise<ResolvedTag> {
    if (known) return this.#revalidate(question, known, waiting);
    return question.wantsBody ? this.get(question, undefined, waiting) : this.#head(question, waiting);
  }

  /** One HEAD for a known tag. If the tag has moved, the manifest is not fetched here, unless HEAD does not tell digest, type and size. */
  async #revalidate(question: TagQuestion, known: TagRecord, waiting: Waiting): Promise<ResolvedTag> {
    const head = await headOf(question, waiting);
    const { digest, fetched } = head;
    if (fetched && fetched.digest !== known.digest) return this.#keep(question, known, fetched);
    if (digest !== undefined && digest === known.digest)
      return this.#record(question, { ...known, confirmedAtMs: this.#deps.clock.now() }, known);
    return isComplete(head)
      ? this.#record(question, this.#answered(head, known), known)
      : this.get(question, known, waiting);
  }

  /** One HEAD for an unknown tag. The manifest is fetched only if HEAD does not tell digest, type and size. */
  async #head(question: TagQuestion, waiting: Waiting): Promise<ResolvedTag> {
    const head = await headOf(question, waiting);
    if (head.fetched) return this.#keep(question, undefined, head.fetched);
    return isComplete(head)
      ? this.#record(question, this.#answered(head, undefined), undefined)
      : this.get(question, undefined, waiting);
  }

  /** Fetches the manifest that a tag points to. */
  async get(question: TagQuestion, known: TagRecord | undefined, waiting: Waiting): Promise<ResolvedTag> {
    const { upstream, repositoryId, tag } = question;
    return this.#keep(question, known, await upstream.getManifest(repositoryId.repository, tag, waiting));
  }

  #keep(question: TagQuestion, known: TagRecord | undefined, fetched: FetchedManifest): ResolvedTag {
    const { digest, mediaType, bytes } = this.#deps.manifests.keep(question.repositoryId, fetched);
    const record = this.#answered({ digest, mediaType, size: bytes.byteLength }, known);
    return { ...this.#record(question, record, known), cache: { word: 'miss', upstreamStatus: 200, stored: true } };
  }

  #answered(head: CompleteHead, known: TagRecord | undefined): TagRecord {
    return recordOf(head, { known, confirmedAtMs: this.#deps.clock.now() });
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
    if (known && !isSame) observer.tagMoved({ repositoryId, tag, from: known.digest, to: record });
    return { record, cache: { word: isSame ? 'revalidated' : 'miss', upstreamStatus: 200 } };
  }
}

type CompleteHead = Pick<TagRecord, 'digest' | 'mediaType' | 'size'>;

/** The record of a tag that points to a manifest, and where it pointed before as far as this replica knows. */
function recordOf(
  { digest, mediaType, size }: CompleteHead,
  { known, confirmedAtMs }: { readonly known: TagRecord | undefined; readonly confirmedAtMs: number },
): TagRecord {
  const previous = known?.digest === digest ? known.previous : known?.digest;
  return { digest, mediaType, size, confirmedAtMs, ...(previous && { previous }) };
}

function headOf({ upstream, repositoryId, tag }: TagQuestion, waiting: Waiting): Promise<ManifestHead> {
  return upstream.headManifest(repositoryId.repository, tag, waiting);
}

function isComplete(head: ManifestHead): head is ManifestHead & CompleteHead {
  return head.digest !== undefined && head.mediaType !== undefined && head.size !== undefined;
}
