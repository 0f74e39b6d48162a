import type { Readable } from 'node:stream';
import type { Digest } from '../../oci/digest.ts';
import type { HostName, Reference, Repository } from '../../oci/reference.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { Descriptor } from '../../oci/manifest.ts';
import type { MediaType } from '../../oci/media-types.ts';
import type { OtherCacheKind } from './cache-status.ts';
import type { RepositoryId } from './repository-id.ts';
import type { Waiting } from './waiting.ts';

/**
 * One registry the mirror pulls from. Each method resolves with the registry's answer, throws OciError if the answer was a refusal (404:
 * MANIFEST_UNKNOWN, BLOB_UNKNOWN or NAME_UNKNOWN; 403 to an anonymous request: DENIED), and UpstreamError if no usable answer came.
 */
export interface Upstream {
  /** As clients write it; for a pattern entry the name that matched. */
  readonly name: string;
  /** The key of its entry in the configuration: the only form that may label a metric. */
  readonly label: string;
  /** The most connections to one of its hosts. */
  readonly maxConnections: number;
  headManifest(repository: Repository, reference: Reference, options: Waiting): Promise<ManifestHead>;
  /** Never more than 4 MiB. By digest the bytes are verified; by tag they are hashed, and must match the digest in the headers. */
  getManifest(repository: Repository, reference: Reference, options: Waiting): Promise<FetchedManifest>;
  /** If HEAD is refused (401, 405), a GET of one byte. @returns the size if the registry says it. */
  headBlob(repository: Repository, digest: Digest, options: Waiting): Promise<{ readonly size: number | undefined }>;
  /**
   * Opens a blob for reading; resolves as soon as the headers are there. Nothing is verified yet.
   * A range may be answered with the whole blob: see `offset`.
   */
  openBlob(
    repository: Repository,
    digest: Digest,
    options: Waiting & { readonly range?: ByteRange },
  ): Promise<OpenedBlob>;
  /** All tags, following the registry's pages; or one page. @throws ListingTooLong beyond the bounds. */
  listTags(repository: Repository, options: TagsWaiting): Promise<readonly string[]>;
  /** All referrers of `digest`, unfiltered, by the referrers API or, where the registry has none, by the tag schema. */
  listReferrers(repository: Repository, digest: Digest, options: Waiting): Promise<readonly Descriptor[]>;
  /**
   * Whether an anonymous caller may read a repository. It is asked without credentials, by a request that does not count as a pull. A
   * repository that does not exist is hidden as well.
   * @param reference the manifest that is wanted; undefined for anything else.
   */
  askVisibility(
    repository: Repository,
    reference: Reference | undefined,
    options: Waiting,
  ): Promise<RepositoryVisibility>;
  /**
   * To be called when bytes for a digest failed verification: from then on another endpoint of the upstream is asked for the digest.
   */
  failedVerification(digest: Digest): void;
}

export type RepositoryVisibility = 'public' | 'hidden';

/** Learns from the clients of upstreams what readiness and tag lifetimes depend on. Must not throw. */
export interface UpstreamMonitor {
  readonly health: {
    /** A request ended, with or without an answer. */
    record(event: {
      /** The label of the upstream. */
      readonly upstream: string;
      /** The HTTP status, or why there was none. */
      readonly outcome: number | string;
    }): void;
  };
  readonly rateLimits: { record(report: RateLimitReport): void };
}

/** An account whose remaining pulls are below this share of its limit has a low rate limit. */
export const lowShare = 0.1;

/** An account's rate limit, as an upstream reported it (Docker Hub: pulls in a sliding window). */
export interface RateLimitReport {
  /** The label of the upstream. */
  readonly upstream: string;
  /** Tells the accounts of an upstream apart without naming them: `basic-1`, `anonymous`. */
  readonly account: string;
  readonly limit: number;
  readonly remaining: number;
  readonly windowSeconds: number | undefined;
  /** Until all pulls are allowed again, where the upstream says so. */
  readonly resetSeconds?: number | undefined;
}

/** The answer to HEAD of a manifest. Some registries omit the digest or the length. */
export interface ManifestHead {
  readonly digest: Digest | undefined;
  readonly mediaType: MediaType | undefined;
  readonly size: number | undefined;
  /** The manifest, if it was fetched because the registry does not support HEAD. */
  readonly fetched?: FetchedManifest;
}

export interface FetchedManifest {
  readonly digest: Digest;
  readonly mediaType: MediaType;
  readonly bytes: Uint8Array;
}

/** First and last byte, both included, as in RFC 9110 §14.1.2. */
export interface ByteRange {
  readonly start: number;
  /** Absent: to the end. */
  readonly end?: number | undefined;
}

export interface OpenedBlob {
  /** Size of the whole blob, if the upstream reported it. */
  readonly size: number | undefined;
  /** Offset of the first byte of `body`: the start of the requested range, or 0 if the upstream sent the whole blob. */
  readonly offset: number;
  /** Destroying it ends the request. It fails with an UpstreamError. The reader owns the chunks, and may free their memory. */
  readonly body: Readable;
  /** Where the bytes come from. Absent: from the upstream. */
  readonly origin?: BlobOrigin;
  /** The other cache that clients may be told of. Absent where it has the blob for another repository only. */
  readonly via?: OtherCacheKind;
}

/** The upstream, a sibling replica, or the bucket that the replicas share. */
export type BlobOrigin = 'upstream' | OtherCacheKind;

/** Finds the upstream of a name. Only configured names have one. */
export interface UpstreamDirectory {
  find(name: HostName): Upstream | undefined;
}

/** How to wait for a list of tags; `onPage` gets its pages as they arrive. */
export interface TagsWaiting extends Waiting {
  readonly onPage?: ((page: PageOfTags) => void) | undefined;
  /** Only one page is asked for: so many tags at most, behind `last`. `onPage` gets whether there is another. */
  readonly only?: { readonly limit: number; readonly last: string | undefined } | undefined;
}

/** A listing has more pages, entries or bytes than are fetched. */
export class ListingTooLong extends UpstreamError {
  constructor(host: string, options: { readonly cause?: unknown } = {}) {
    super('misbehaving', `${host} has more in a listing than is fetched`, options);
  }
}

/** A page as the registry sent it: in any order, and possibly with names that are not tags. */
export interface PageOfTags {
  readonly tags: readonly string[];
  /** Whether this is the first page, perhaps of a new attempt after a failure. Pages from before it no longer count. */
  readonly isFirst: boolean;
  readonly hasNext: boolean;
}

/**
 * Anonymous callers may not read the repository, or it does not exist: the message is the same for both. Unlike the upstream's own "not
 * found" it says nothing about the repository's content: no cached content is forgotten because of it, and no stale content is served.
 */
export class RepositoryHidden extends OciError {
  constructor({ upstream }: Pick<RepositoryId, 'upstream'>) {
    super('NAME_UNKNOWN', `${upstream} has no such repository`);
  }
}

/** An upstream's answer that it does not have what it was asked for. */
export type NotFound = OciError & { readonly status: 404 };

export function isNotFound(cause: unknown): cause is NotFound {
  return cause instanceof OciError && cause.status === 404 && !(cause instanceof RepositoryHidden);
}
