import { type Digest, isDigest } from '../../../oci/digest.ts';
import type { Reference, Tag } from '../../../oci/reference.ts';
import { abortable } from '../../concurrency/abortable-wait.ts';
import type { Background } from '../../concurrency/background.ts';
import type { Clock } from '../../ports/clock.ts';
import { parseManifestRecord, type TagRecord } from '../../ports/record-store.ts';
import { isSameRepository, type RepositoryId } from '../../ports/repository-id.ts';
import type { Waiting } from '../../ports/waiting.ts';
import { type FreshnessPolicies, freshnessOf } from '../../tags/freshness.ts';
import { tagKey, type TagRecords } from '../../tags/tag-records.ts';
import {
  chosenFrom,
  contentsOf,
  type ImageContents,
  type ListedManifest,
  type Platform,
} from '../jobs/image-contents.ts';
import { CachedContents, type CachedContentsDeps, type SharedBy } from './cached-contents.ts';
import {
  type ConfigFacts,
  configFactsOf,
  type LayerFacts,
  type ManifestFacts,
  manifestFactsOf,
} from './image-documents.ts';
import { cachedReferrers, type CachedReferrers } from './referrers.ts';

export interface ImagesDeps extends Omit<CachedContentsDeps, 'onlyOf'> {
  readonly tagRecords: Pick<TagRecords, 'get'>;
  readonly background: Pick<Background, 'settled'>;
  readonly policies: FreshnessPolicies;
  readonly clock: Pick<Clock, 'now'>;
}

export interface ImageQuestion {
  readonly repositoryId: RepositoryId;
  readonly reference: Reference;
  /** Which image of an index is meant. */
  readonly platform: Platform | undefined;
  /** Whether content is told of only as far as the repository may serve it: to clients, what others have is unknown. */
  readonly isForClients: boolean;
  /** Of the upstream, by which the lifetime of a tag is found. */
  readonly label: string;
}

/** A manifest. */
export interface FoundManifest {
  readonly digest: Digest;
  readonly mediaType: string | undefined;
  readonly size: number | undefined;
  readonly isStored: boolean;
}

export interface FoundLayer extends LayerFacts {
  readonly isStored: boolean;
  readonly sharedBy: SharedBy;
}

/** An image of one platform, or an artifact. */
export interface FoundImage extends FoundManifest {
  /** Undefined if neither the index nor the config says it. */
  readonly platform: Platform | undefined;
  readonly artifactType: string | undefined;
  readonly subject: Digest | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  readonly config: FoundLayer | undefined;
  /** What the config says; undefined if it is not stored, too large, or no config of an image. */
  readonly configFacts: ConfigFacts | undefined;
  readonly layers: readonly FoundLayer[];
  /** Of the manifest and all it names, each content once. */
  readonly storedBytes: number;
  readonly totalBytes: number;
}

export interface FoundTag {
  readonly tag: Tag;
  readonly confirmedAtMs: number;
  /** What it pointed at before it last moved. */
  readonly previous: Digest | undefined;
  /** Infinity: for ever. */
  readonly freshUntilMs: number;
  readonly isFresh: boolean;
}

export interface ImageDetails extends FoundManifest {
  /** By which it was asked for. */
  readonly tag: FoundTag | undefined;
  /** The tags of its repository that point at it: the first few. */
  readonly tags: readonly Tag[];
  readonly moreTags: number;
  readonly firstPulledAtMs: number | undefined;
  readonly lastPulledAtMs: number | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** Of an index that is stored. */
  readonly manifests: readonly (ListedManifest & FoundManifest)[] | undefined;
  /** Undefined for an index of which no image was chosen, and for what is not stored. */
  readonly image: FoundImage | undefined;
  /** Whether the manifest is too large to be looked into. */
  readonly isTooLarge: boolean;
  /** Of the manifest, and of the image that was chosen from an index. */
  readonly referrers: readonly CachedReferrers[];
}

/** `unknown`: nothing of it is cached. `no-such-platform`: the index does not have it. */
export type ImageRefusal = 'unknown' | 'no-such-platform';

const mostTags = 100;

/** Tells what the cache has of an image. It never asks an upstream, and records no use. */
export class Images {
  readonly #deps: ImagesDeps;

  constructor(deps: ImagesDeps) {
    this.#deps = deps;
  }

  /** @throws the signal's reason; UpstreamError busy when there is no memory for a manifest. */
  async find(question: ImageQuestion, waiting: Waiting): Promise<ImageDetails | ImageRefusal> {
    const { repositoryId, reference, platform, isForClients } = question;
    const { background, tagRecords } = this.#deps;
    // What was just pulled is written in the background.
    await abortable(background.settled(), waiting.signal);
    const tagged = isDigest(reference) ? undefined : await tagRecords.get(repositoryId, reference);
    const digest = isDigest(reference) ? reference : tagged?.digest;
    const link = digest && (await this.#linkOf(repositoryId, digest));
    if (digest === undefined || (!link && !tagged)) return 'unknown';
    const looking = {
      ...question,
      cached: new CachedContents({ ...this.#deps, onlyOf: isForClients ? repositoryId : undefined }),
    };
    const manifest = await readManifest(looking, { ...tagged, ...link, digest }, waiting);
    const listed = manifest.contents?.kind === 'index' ? manifest.contents.manifests : undefined;
    const fitting = listed && platform && chosenFrom(listed, [platform]);
    if (fitting && fitting.missing.length > 0) return 'no-such-platform';
    const chosen = fitting?.manifests.find((one) => one.platform !== undefined);
    const described = manifest.facts?.manifests.find((one) => one.digest === chosen?.digest);
    const child = described ? await readManifest(looking, described, waiting) : manifest;
    const image = await imageIn(looking, child, waiting);
    return {
      ...manifest.found,
      ...(await tagsOf(looking, digest)),
      tag: tagged && !isDigest(reference) ? this.#tag(looking, reference, tagged) : undefined,
      firstPulledAtMs: link?.firstServedAtMs,
      annotations: manifest.facts?.annotations ?? {},
      manifests: listed && (await listedIn(looking, listed, manifest.facts)),
      image: image && { ...image, platform: chosen?.platform ?? image.platform },
      isTooLarge: manifest.contents?.kind === 'too-large',
      referrers: await this.#referrers(looking, new Set([digest, child.found.digest])),
    };
  }

  async #linkOf(repositoryId: RepositoryId, digest: Digest) {
    return parseManifestRecord(await this.#deps.records.read({ kind: 'manifest', repositoryId, digest }));
  }

  #tag({ repositoryId, label }: ImageQuestion, tag: Tag, { confirmedAtMs, previous }: TagRecord): FoundTag {
    const { policies, clock } = this.#deps;
    const lifetimeMs = policies.tagLifetimeMs(label, tagKey(repositoryId, tag));
    const isFresh = freshnessOf(confirmedAtMs, lifetimeMs, clock.now()) === 'fresh';
    return { tag, confirmedAtMs, previous, freshUntilMs: confirmedAtMs + lifetimeMs, isFresh };
  }

  async #referrers({ repositoryId, cached }: Looking, subjects: Iterable<Digest>): Promise<readonly CachedReferrers[]> {
    const found: CachedReferrers[] = [];
    const deps = { ...this.#deps, isStored: (digest: Digest) => cached.isStored(digest) };
    for (const subject of subjects) found.push(await cachedReferrers(deps, repositoryId, subject));
    return found;
  }
}

interface Looking extends ImageQuestion {
  readonly cached: CachedContents;
}

/** A manifest, and what it says if it is stored. */
interface ReadManifest {
  readonly found: FoundManifest;
  readonly contents: ImageContents | undefined;
  readonly facts: ManifestFacts | undefined;
}

interface KnownManifest {
  readonly digest: Digest;
  readonly mediaType?: string | undefined;
  readonly size?: number | undefined;
}

async function readManifest(
  { cached }: Looking,
  { digest, mediaType, size }: KnownManifest,
  waiting: Waiting,
): Promise<ReadManifest> {
  const bytes = await cached.manifest(digest, size, waiting);
  return {
    found: { digest, mediaType, size: bytes?.byteLength ?? size, isStored: bytes !== undefined },
    contents: bytes && contentsOf(bytes),
    facts: bytes && manifestFactsOf(bytes),
  };
}

/** @returns undefined for an index, and for what cannot be read. */
async function imageIn(looking: Looking, manifest: ReadManifest, waiting: Waiting): Promise<FoundImage | undefined> {
  const { found, contents, facts } = manifest;
  if (contents?.kind !== 'manifest' || !facts) return undefined;
  const layers: FoundLayer[] = [];
  for (const layer of facts.layers) {
    waiting.signal.throwIfAborted();
    layers.push(await layerIn(looking, found.digest, layer));
  }
  const config = facts.config && (await layerIn(looking, found.digest, facts.config));
  const configBytes = config?.isStored ? await looking.cached.config(config, waiting) : undefined;
  const configFacts = configBytes && configFactsOf(configBytes);
  return {
    ...found,
    ...bytesOf(found, config ? [config, ...layers] : layers),
    platform: platformOf(configFacts),
    artifactType: facts.artifactType,
    subject: facts.subject?.digest,
    annotations: facts.annotations,
    config,
    configFacts,
    layers,
  };
}

async function layerIn({ cached, repositoryId }: Looking, manifest: Digest, layer: LayerFacts): Promise<FoundLayer> {
  const { digest } = layer;
  return {
    ...layer,
    isStored: await cached.isStored(digest),
    sharedBy: await cached.sharedBy(digest, { repositoryId, manifest }),
  };
}

/** Layers that clients fetch elsewhere are no part of it. */
function bytesOf({ size = 0 }: FoundManifest, named: readonly FoundLayer[]) {
  const own = new Map(named.filter(({ isForeign }) => !isForeign).map((one) => [one.digest, one]));
  const sum = (layers: readonly FoundLayer[]) => layers.reduce((total, layer) => total + layer.size, size);
  return { storedBytes: sum([...own.values()].filter(({ isStored }) => isStored)), totalBytes: sum([...own.values()]) };
}

function platformOf(facts: ConfigFacts | undefined): Platform | undefined {
  const { os, architecture, variant } = facts ?? {};
  return os === undefined || architecture === undefined ? undefined : { os, architecture, variant };
}

async function tagsOf({ cached, repositoryId }: Looking, digest: Digest) {
  const details = await cached.details(digest);
  const tags = (details?.tags ?? []).filter((one) => isSameRepository(one.repositoryId, repositoryId));
  return {
    tags: tags.slice(0, mostTags).map(({ tag }) => tag),
    moreTags: Math.max(0, tags.length - mostTags),
    lastPulledAtMs: details?.content?.usedAtMs,
  };
}

async function listedIn({ cached }: Looking, listed: readonly ListedManifest[], facts: ManifestFacts | undefined) {
  const described = new Map(facts?.manifests.map((one) => [one.digest, one]));
  const manifests: (ListedManifest & FoundManifest)[] = [];
  for (const one of listed) {
    const { mediaType, size } = described.get(one.digest) ?? {};
    manifests.push({ ...one, mediaType, size, isStored: await cached.isStored(one.digest) });
  }
  return manifests;
}
