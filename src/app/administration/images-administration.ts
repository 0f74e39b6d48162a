import type { Image, ImagesAdministration, PlatformImage } from '../../http/management/api/image-routes.ts';
import { isoOf, repositoryIn } from '../../http/management/api/schemas.ts';
import { Problem } from '../../http/management/problems.ts';
import type {
  FoundImage,
  FoundLayer,
  FoundManifest,
  FoundTag,
  ImageDetails,
  ImageQuestion,
  ImageRefusal,
  Images,
} from '../../mirror/administration/images/image-details.ts';
import type { SharedBy } from '../../mirror/administration/images/cached-contents.ts';
import type { ConfigFacts } from '../../mirror/administration/images/image-documents.ts';
import type { CachedReferrers } from '../../mirror/administration/images/referrers.ts';
import { type Platform, platformText } from '../../mirror/administration/jobs/image-contents.ts';
import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import { type RepositoryId, repositoryKey } from '../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';

export interface CachedImagesDeps {
  readonly images: Pick<Images, 'find'>;
  /** The label of an upstream; of one that is not configured any more, its name. */
  readonly labelOf: (upstream: string) => string;
  /** How long the disk and the index have; for tests. */
  readonly withinMs?: number;
}

const defaultWithinMs = 10_000;
/** Images that are looked into at the same time. */
const mostRunning = 16;

/** What the cache has of an image, as the management API tells it. */
export class CachedImages implements ImagesAdministration {
  readonly #deps: CachedImagesDeps;
  #running = 0;

  constructor(deps: CachedImagesDeps) {
    this.#deps = deps;
  }

  async details(question: Omit<ImageQuestion, 'label'>, { signal }: Waiting): Promise<Image> {
    const { labelOf, withinMs = defaultWithinMs } = this.#deps;
    const { repositoryId } = question;
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(withinMs)]);
    const asked = { ...question, label: labelOf(repositoryId.upstream) };
    const found = await abortable(this.#find(asked, { signal: inTime }), inTime).catch((cause: unknown) => {
      signal.throwIfAborted();
      if (inTime.aborted) throw new Problem('unavailable', 'the disk or the index does not answer');
      if (cause instanceof UpstreamError) throw new Problem('unavailable', 'there is no memory for it now');
      throw cause;
    });
    if (typeof found === 'string') throw problems[found](repositoryKey(repositoryId), question.reference);
    return answerOf(repositoryId, found);
  }

  /** A disk that hangs holds what was begun, also after its client has its answer. */
  async #find(question: ImageQuestion, waiting: Waiting): Promise<ImageDetails | ImageRefusal> {
    if (this.#running >= mostRunning) throw new Problem('unavailable', 'too many images are looked into');
    this.#running += 1;
    try {
      return await this.#deps.images.find(question, waiting);
    } finally {
      this.#running -= 1;
    }
  }
}

const problems: Readonly<Record<ImageRefusal, (name: string, reference: string) => Problem>> = {
  unknown: (name, reference) => new Problem('not-found', `nothing is cached of ${reference} of ${name}`),
  'no-such-platform': (name, reference) =>
    new Problem('not-found', `${reference} of ${name} has no image for this platform`),
};

function answerOf(repositoryId: RepositoryId, found: ImageDetails): Image {
  const { tag, tags, moreTags, firstPulledAtMs, lastPulledAtMs, manifests, image } = found;
  return {
    ...repositoryIn(repositoryId),
    ...manifestIn(found),
    ...(tag && { tag: tagIn(tag) }),
    tags: [...tags],
    moreTags,
    ...(firstPulledAtMs !== undefined && { firstPullAt: isoOf(firstPulledAtMs) }),
    ...(lastPulledAtMs !== undefined && { lastPullAt: isoOf(lastPulledAtMs) }),
    isTooLarge: found.isTooLarge,
    annotations: { ...found.annotations },
    ...(manifests && {
      manifests: manifests.map((one) => ({
        ...manifestIn(one),
        ...platformIn(one.platform),
        ...(one.attests && { attests: one.attests }),
      })),
    }),
    ...(image && { image: imageIn(image) }),
    referrers: found.referrers.map(referrersIn),
  };
}

function imageIn(found: FoundImage): PlatformImage {
  const { platform, artifactType, subject, annotations, config, configFacts, layers, storedBytes, totalBytes } = found;
  return {
    ...manifestIn(found),
    ...platformIn(platform),
    ...(artifactType !== undefined && { artifactType }),
    ...(subject && { subject }),
    annotations: { ...annotations },
    ...(config && { config: layerIn(config) }),
    ...(configFacts && { configuration: configurationIn(configFacts) }),
    layers: layers.map(layerIn),
    storedBytes,
    totalBytes,
  };
}

function manifestIn({ digest, mediaType, size, isStored }: FoundManifest) {
  return { digest, ...(mediaType !== undefined && { mediaType }), ...(size !== undefined && { size }), isStored };
}

function tagIn({ tag, confirmedAtMs, freshUntilMs, isFresh, previous }: FoundTag): NonNullable<Image['tag']> {
  return {
    tag,
    confirmedAt: isoOf(confirmedAtMs),
    freshUntil: Number.isFinite(freshUntilMs) ? isoOf(freshUntilMs) : null,
    isFresh,
    ...(previous && { previousDigest: previous }),
  };
}

function layerIn(layer: FoundLayer): PlatformImage['layers'][number] {
  const { digest, mediaType, size, isStored, isForeign, predicateType, sharedBy } = layer;
  return {
    digest,
    mediaType,
    size,
    ...(predicateType !== undefined && { predicateType }),
    isStored,
    isForeign,
    sharedBy: sharedIn(sharedBy),
  };
}

function sharedIn({ repositories, moreRepositories, images, moreImages }: SharedBy) {
  return {
    repositories: repositories.map(repositoryKey),
    moreRepositories,
    images: images.map(({ digest, repositoryId, tag }) => ({
      digest,
      ...(repositoryId && { name: repositoryKey(repositoryId) }),
      ...(tag !== undefined && { tag }),
    })),
    moreImages,
  };
}

function configurationIn(facts: ConfigFacts): NonNullable<PlatformImage['configuration']> {
  const { created, author, os, architecture, variant, history } = facts;
  return {
    ...(created !== undefined && { created: isoOf(created) }),
    ...(author !== undefined && { author }),
    ...(os !== undefined && { os }),
    ...(architecture !== undefined && { architecture }),
    ...(variant !== undefined && { variant }),
    labels: { ...facts.config.Labels },
    history: history.map((step) => ({
      ...(step.created !== undefined && { created: isoOf(step.created) }),
      ...(step.created_by !== undefined && { createdBy: step.created_by }),
      ...(step.comment !== undefined && { comment: step.comment }),
      isEmptyLayer: step.empty_layer,
    })),
  };
}

function referrersIn({ subject, listedAtMs, referrers, more }: CachedReferrers): Image['referrers'][number] {
  const items = referrers.map(({ kind, digest, mediaType, size, isStored, artifactType, tag }) => ({
    kind,
    digest,
    mediaType,
    size,
    isStored,
    ...(artifactType !== undefined && { artifactType }),
    ...(tag !== undefined && { tag }),
  }));
  return { subject, ...(listedAtMs !== undefined && { listedAt: isoOf(listedAtMs) }), items, more };
}

function platformIn(platform: Platform | undefined) {
  return platform ? { platform: platformText(platform) } : {};
}
