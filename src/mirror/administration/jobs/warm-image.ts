import { type Digest, isDigest } from '../../../oci/digest.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import type { ImageName } from '../../../oci/image-name.ts';
import type { Descriptor } from '../../../oci/manifest.ts';
import type { Reference } from '../../../oci/reference.ts';
import { abortable } from '../../concurrency/abortable-wait.ts';
import type { LocatedRepository, Mirror, ServedManifest } from '../../mirror.ts';
import type { CacheWord } from '../../ports/cache-status.ts';
import type { Upstream } from '../../ports/upstream.ts';
import type { Waiting } from '../../ports/waiting.ts';
import {
  attestationsOf,
  chosenFrom,
  contentsOf,
  type ListedManifest,
  type Platform,
  platformText,
} from './image-contents.ts';
import { detailOf, type ImageReport, reasonOf, reasonOfEnd, type WarmReason } from './warm-report.ts';

/** What is wanted of every image of a job. */
export interface WarmChoice {
  readonly platforms: readonly Platform[] | 'all';
  /** Whether signatures, SBOMs and the like are wanted: what refers to the image or to a chosen manifest of it. */
  readonly referrers: boolean;
}

export interface WarmImageDeps {
  readonly mirror: Pick<Mirror, 'locate' | 'manifest' | 'blob' | 'referrers'>;
  /** Runs a request for a blob when it is its turn. */
  readonly inTurn: <Value>(upstream: Upstream, work: () => Promise<Value>, waiting: Waiting) => Promise<Value>;
  /** Whether so few pulls are left at an upstream, by its label, that they are for clients. */
  readonly areFewPullsLeft: (label: string) => boolean;
  /** Whether the blobs of the job, with this one, are more than the store can hold. */
  readonly isTooMuch: (blob: Descriptor) => boolean;
  /** Resolves after `ms`. @throws when the signal aborts before. */
  readonly wait: (ms: number, waiting: Waiting) => Promise<unknown>;
}

/** Answers that needed no more than a confirmation by the upstream. */
const wasHere: ReadonlySet<CacheWord> = new Set(['hit', 'revalidated', 'stale']);
/** An image index lists images; some lists list such lists. */
const deepestIndex = 3;
/** Signatures and the like of one manifest. */
const mostReferrers = 100;
/** How often what the mirror has no place for is asked for. */
const attemptsWhileBusy = 4;
const usualPauseMs = 2_000;
/** For the headers of a blob, or all of something small: the mirror itself gives an upstream up earlier. */
const answersWithinMs = 120_000;

/**
 * Pulls one image by the mirror's own verbs, as a client that discards it. What fails is told, and the rest is pulled all the same.
 * @throws the signal's reason when it aborts; what is a bug.
 */
export async function warmImage(
  image: ImageName,
  choice: WarmChoice,
  parts: WarmImageDeps & Waiting & { readonly report: ImageReport },
): Promise<void> {
  const { mirror, report } = parts;
  report.begins();
  const located = locatedBy(mirror, image);
  if (typeof located === 'string') report.problem(image.registry, 'not-configured', located);
  else await new ImageWarming(located, choice, parts).run(image.reference);
  report.ends();
}

function locatedBy(mirror: Pick<Mirror, 'locate'>, { registry, repository }: ImageName): LocatedRepository | string {
  try {
    return mirror.locate({ namespace: registry, host: undefined, pathPrefix: undefined, name: repository });
  } catch (cause) {
    if (reasonOf(cause) === undefined) throw cause;
    return detailOf(cause);
  }
}

class ImageWarming {
  readonly #located: LocatedRepository;
  readonly #choice: WarmChoice;
  readonly #parts: WarmImageDeps & Waiting & { readonly report: ImageReport };
  /** Asked for already: an index may list a manifest twice, and manifests share layers. */
  readonly #seen = new Set<Digest>();

  constructor(
    located: LocatedRepository,
    choice: WarmChoice,
    parts: WarmImageDeps & Waiting & { readonly report: ImageReport },
  ) {
    this.#located = located;
    this.#choice = choice;
    this.#parts = parts;
  }

  async run(reference: Reference): Promise<void> {
    const root = await this.#manifest(reference);
    if (!root) return;
    this.#parts.report.digest = root.digest;
    await this.#contents(root, { depth: 0, isReferredTo: this.#choice.referrers });
  }

  /** What a manifest names, and what refers to it if that is wanted. */
  async #contents(
    { digest, bytes }: FoundManifest,
    { depth, isReferredTo }: { readonly depth: number; readonly isReferredTo: boolean },
  ): Promise<void> {
    const { report } = this.#parts;
    const contents = contentsOf(bytes);
    switch (contents.kind) {
      case 'too-large':
        return report.problem(digest, 'too-large', 'the manifest has more than 1 MiB, or names more than 1000 digests');
      case 'index':
        await this.#index(contents.manifests, { digest, depth });
        break;
      case 'manifest':
        for (const one of contents.foreign) report.problem(one, 'foreign-layer', 'clients fetch this layer elsewhere');
        await Promise.all(contents.blobs.map((blob) => this.#reported(blob.digest, () => this.#blob(blob))));
    }
    if (isReferredTo) await this.#referrers(digest);
  }

  async #index(
    listed: readonly ListedManifest[],
    { digest, depth }: { readonly digest: Digest; readonly depth: number },
  ): Promise<void> {
    const { report } = this.#parts;
    if (depth === deepestIndex) return report.problem(digest, 'too-large', 'image indexes are nested too deeply');
    const { manifests, missing } = chosenFrom(listed, this.#choice.platforms);
    const why = manifests.length === 0 ? 'not-found' : 'no-platform';
    for (const platform of missing) report.problem(platformText(platform), why, 'the image has no such platform');
    const { referrers } = this.#choice;
    const images = manifests.map((manifest) => ({ digest: manifest.digest, isReferredTo: referrers }));
    const attestations = referrers ? attestationsOf(listed, manifests) : [];
    for (const one of [...images, ...attestations.map((about) => ({ digest: about, isReferredTo: false }))]) {
      const found = await this.#manifest(one.digest);
      if (found) await this.#contents(found, { depth: depth + 1, isReferredTo: one.isReferredTo });
    }
  }

  async #referrers(subject: Digest): Promise<void> {
    const { mirror, report } = this.#parts;
    const { listing = [] } =
      (await this.#reported(subject, () => this.#asked((soon) => mirror.referrers(this.#located, subject, soon)))) ??
      {};
    if (listing.length > mostReferrers) {
      report.problem(subject, 'too-large', `only the first ${mostReferrers} of ${listing.length} referrers are pulled`);
    }
    for (const { digest } of listing.slice(0, mostReferrers)) {
      const found = await this.#manifest(digest);
      if (found) await this.#contents(found, { depth: deepestIndex, isReferredTo: false });
    }
  }

  /** @returns undefined if it was asked for already, or failed, which is told. */
  async #manifest(reference: Reference): Promise<FoundManifest | undefined> {
    if (this.#isSeen(reference)) return undefined;
    const { report } = this.#parts;
    const served = await this.#reported(reference, () => this.#asked((soon) => this.#ask(reference, soon)));
    if (!served) return undefined;
    const { digest, bytes, cache } = served;
    if (bytes === undefined) {
      const few = 'less than a tenth of the pulls is left at the upstream: they are for clients';
      report.problem(reference, 'rate-limited', few);
      return undefined;
    }
    if (cache.word === 'stale') {
      const reason = `the upstream does not confirm it (${cache.reason ?? 'no answer'}); what is stored may be old`;
      report.problem(reference, 'stale', reason);
    }
    report.manifest(wasHere.has(cache.word));
    return { digest, bytes };
  }

  /** While few pulls are left, a manifest that is not stored is only asked for by HEAD, which does not count as a pull. */
  async #ask(reference: Reference, soon: Waiting): Promise<ServedManifest> {
    const { mirror, areFewPullsLeft } = this.#parts;
    return mirror.manifest(this.#located, reference, areFewPullsLeft(this.#located.upstream.label), soon);
  }

  async #blob(descriptor: Descriptor): Promise<void> {
    const { report, inTurn, isTooMuch, signal } = this.#parts;
    if (this.#isSeen(descriptor.digest)) return;
    if (isTooMuch(descriptor)) {
      return report.problem(descriptor.digest, 'no-room', 'the images of this job are larger than storage.maxSize');
    }
    await inTurn(this.#located.upstream, () => this.#asked((soon) => this.#store(descriptor, soon)), { signal });
  }

  /** Waits until the blob is stored. Nothing of it is read: as long as its source is open, the download has a client. */
  async #store({ digest, size }: Descriptor, soon: Waiting): Promise<void> {
    const { mirror, report, signal } = this.#parts;
    const blob = await mirror.blob(this.#located, digest, soon);
    await using _ = blob.source;
    const { cache, ended, receivedBytes = () => 0 } = blob;
    if (!ended) {
      if (cache.word === 'hit' || cache.stored === true) return report.blob(true, blob.size ?? size);
      const isUnreadable = blob.ignoresRange === true;
      const detail = isUnreadable ? 'the disk cannot read it' : 'the store has no room for it';
      return report.problem(digest, isUnreadable ? 'disk' : 'no-room', detail);
    }
    const arrived = report.arrives({ receivedBytes });
    try {
      const end = await abortable(ended, signal);
      if (end.result === 'ok') return report.blob(false, end.bytes);
      if (end.result === 'aborted') throw end.cause;
      report.problem(digest, reasonOfEnd(end), `the download ended: ${detailOf(end.cause ?? end.result)}`);
    } finally {
      arrived();
    }
  }

  /** Asks, and asks again after a while if the mirror has no place for it now. */
  async #asked<Value>(ask: (waiting: Waiting) => Promise<Value>): Promise<Value> {
    const { signal, wait } = this.#parts;
    for (let attempt = 1; ; attempt += 1) {
      signal.throwIfAborted();
      try {
        return await ask({ signal: AbortSignal.any([signal, AbortSignal.timeout(answersWithinMs)]) });
      } catch (cause) {
        const isBusy = cause instanceof UpstreamError && cause.reason === 'busy';
        if (!isBusy || attempt === attemptsWhileBusy) throw cause;
        await wait((cause.retryAfterSeconds ?? 0) * 1_000 || usualPauseMs, { signal });
      }
    }
  }

  /** @returns undefined when the work failed, which is told. @throws the signal's reason; what is a bug. */
  async #reported<Value>(subject: string, work: () => Promise<Value>): Promise<Value | undefined> {
    const { report, signal } = this.#parts;
    try {
      return await work();
    } catch (cause) {
      signal.throwIfAborted();
      const reason: WarmReason | undefined = reasonOf(cause);
      if (reason === undefined) throw cause;
      report.problem(subject, reason, detailOf(cause));
      return undefined;
    }
  }

  #isSeen(reference: Reference): boolean {
    if (!isDigest(reference)) return false;
    const isSeen = this.#seen.has(reference);
    this.#seen.add(reference);
    return isSeen;
  }
}

interface FoundManifest {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}
