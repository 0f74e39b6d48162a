import { type Digest, isDigest } from '../../../oci/digest.ts';
import type { ImageName } from '../../../oci/image-name.ts';
import type { Descriptor } from '../../../oci/manifest.ts';
import type { Reference } from '../../../oci/reference.ts';
import type { LocatedRepository, Mirror, ServedManifest } from '../../mirror.ts';
import type { CacheWord } from '../../ports/cache-status.ts';
import type { Waiting } from '../../ports/waiting.ts';
import { asked, type BlobTurns, storeBlob, type Wait } from './fetch-content.ts';
import {
  attestationsOf,
  chosenFrom,
  contentsOf,
  type ListedManifest,
  type Platform,
  platformText,
} from './image-contents.ts';
import { detailOf } from './job-problems.ts';
import { type ImageReport, reasonOf, type WarmReason } from './warm-report.ts';

/** What is wanted of every image of a job. */
export interface WarmChoice {
  readonly platforms: readonly Platform[] | 'all';
  /** Whether signatures, SBOMs and the like are wanted: what refers to the image or to a chosen manifest of it. */
  readonly referrers: boolean;
}

export interface WarmImageDeps {
  readonly mirror: Pick<Mirror, 'locate' | 'manifest' | 'blob' | 'referrers'>;
  readonly turns: BlobTurns;
  /** Whether so few pulls are left at an upstream, by its label, that they are for clients. */
  readonly areFewPullsLeft: (label: string) => boolean;
  /** Whether the blobs of the job, with this one, are more than the store can hold. */
  readonly isTooMuch: (blob: Pick<Descriptor, 'digest' | 'size'>) => boolean;
  readonly wait: Wait;
  /** The labels of upstreams that did not confirm a tag when they had more time. Shared by the images of a job. */
  readonly slowUpstreams: Set<string>;
}

/** Answers that needed no more than a confirmation by the upstream. */
const wasHere: ReadonlySet<CacheWord> = new Set(['hit', 'revalidated', 'stale']);
/** An image index lists images; some lists list such lists. */
const deepestIndex = 3;
/** How long a slow upstream is waited for. */
const confirmsWithinMs = 8_000;
/** An image index for twenty platforms names some hundred contents. */
const mostOfImage = 10_000;
/** Signatures and the like of one manifest. */
const mostReferrers = 100;
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
  #hasTooMany = false;

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
      (await this.#reported(subject, () =>
        asked((soon) => mirror.referrers(this.#located, subject, soon), this.#parts),
      )) ?? {};
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
    const served = await this.#reported(reference, () => this.#confirmed(reference));
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

  /**
   * Clients get what is stored when an upstream takes more than a moment to confirm a tag; its late answer counts for the next request. A job
   * has the time to wait for it.
   */
  async #confirmed(reference: Reference): Promise<ServedManifest> {
    const { wait, slowUpstreams } = this.#parts;
    const { label } = this.#located.upstream;
    const ask = () => asked((soon) => this.#ask(reference, soon), this.#parts);
    const served = await ask();
    const isLate = served.cache.word === 'stale' && served.cache.reason === 'timeout';
    if (!isLate || slowUpstreams.has(label)) return served;
    await wait(confirmsWithinMs, this.#parts);
    const again = await ask();
    if (again.cache.word === 'stale') slowUpstreams.add(label);
    return again;
  }

  /** While few pulls are left, a manifest that is not stored is only asked for by HEAD, which does not count as a pull. */
  async #ask(reference: Reference, soon: Waiting): Promise<ServedManifest> {
    const { mirror, areFewPullsLeft } = this.#parts;
    return mirror.manifest(this.#located, reference, areFewPullsLeft(this.#located.upstream.label), soon);
  }

  async #blob({ digest, size }: Descriptor): Promise<void> {
    const { report, turns, isTooMuch, mirror, signal } = this.#parts;
    if (this.#isSeen(digest)) return;
    if (isTooMuch({ digest, size })) {
      return report.problem(digest, 'no-room', 'the images of this job are larger than storage.maxSize');
    }
    const onArriving = report.arrives.bind(report);
    const store = (soon: Waiting) => storeBlob(this.#located, digest, { mirror, signal, soon, onArriving });
    const outcome = await turns.run(this.#located.upstream, () => asked(store, this.#parts), { signal });
    if (outcome.kind === 'failed') report.problem(digest, outcome.reason, outcome.detail);
    else report.blob(outcome.kind === 'present', outcome.bytes ?? size);
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

  /** Whether it was asked for already; what is too much counts as well. */
  #isSeen(reference: Reference): boolean {
    if (!isDigest(reference)) return false;
    if (this.#seen.has(reference)) return true;
    if (this.#seen.size === mostOfImage) {
      if (!this.#hasTooMany)
        this.#parts.report.problem(reference, 'too-large', `only ${mostOfImage} contents are pulled`);
      this.#hasTooMany = true;
      return true;
    }
    this.#seen.add(reference);
    return false;
  }
}

interface FoundManifest {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}
