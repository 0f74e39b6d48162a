import type { Digest } from '../../oci/digest.ts';
import type { ImageFacts } from '../../oci/manifest.ts';
import type { MediaType } from '../../oci/media-types.ts';
import type { Tag } from '../../oci/reference.ts';
import type { RecordKey } from './record-store.ts';
import type { RepositoryId } from './repository-id.ts';
import type { Waiting } from './waiting.ts';

export interface IndexedContent {
  readonly digest: Digest;
  readonly size: number;
  readonly isManifest: boolean;
  /** The digests that a manifest names; empty for a blob. */
  readonly names: readonly Digest[];
  readonly usedAtMs: number;
  /** Of a manifest; absent if it was not read. */
  readonly image?: ImageFacts | undefined;
}

export interface Link {
  readonly repositoryId: RepositoryId;
  readonly kind: 'manifest' | 'blob';
  readonly digest: Digest;
  /** Undefined for a blob. */
  readonly mediaType: MediaType | undefined;
  readonly size: number | undefined;
  /**
   * When the repository was pulled through, for a link that is written later: meanwhile its content may be used by others. Absent: the last use
   * of the content counts as that of a new link.
   */
  readonly usedAtMs?: number | undefined;
}

export interface Totals {
  /** The length of visible content, without downloads and quarantine. */
  readonly bytes: number;
  /** The part of `bytes` that is manifests. */
  readonly manifestBytes: number;
  readonly manifests: number;
  readonly blobs: number;
  /** `bytes` in whole blocks of the disk. */
  readonly diskBytes: number;
  /** The part of `diskBytes` that repositories named by `storage.keep` are linked to. It is never evicted. */
  readonly keptBytes: number;
  /** Links and tags: each is a small file. */
  readonly records: number;
}

/** Beyond this, tags of one repository that point to the same digest are not needed: see {@link Index.isNeeded}. */
export const maxTagsOfOne = 64;
/** How many repositories with a digest are considered for borrowing its link. */
export const maxLinkedRepositories = 16;

/**
 * A view of the store: sizes, last use, totals, links and tags. It never decides that cached content does not exist.
 * The `record…` methods never fail: what the index loses is found again by a rebuild.
 */
export interface Index {
  recordContent(content: IndexedContent): void;
  recordUse(digest: Digest, atMs: number): void;
  /** Records a pull through a repository. */
  recordRepositoryUse(repositoryId: RepositoryId, atMs: number): void;
  recordLink(link: Link): void;
  recordTag(repositoryId: RepositoryId, tag: Tag, digest: Digest): void;
  /** Drops a tag whose record is gone. */
  forgetTag(repositoryId: RepositoryId, tag: Tag): void;
  /**
   * Links that `of` may borrow: a manifest linked in `of` names `digest`, and these repositories of the same upstream are linked to it.
   * Only a few of them, if there are many.
   */
  borrowableLinks(repositoryId: RepositoryId, digest: Digest, kind: Link['kind']): Promise<readonly Link[]>;
  /** Whether content of this digest is indexed, in any repository. */
  hasContent(digest: Digest): Promise<boolean>;
  /**
   * Repositories with cached content, `<upstream>/<repository>`, in lexical order, after `last`, at most `limit`; undefined if the index cannot
   * be read now. While it is not complete, some may be missing.
   */
  repositories(options: {
    readonly last: string | undefined;
    readonly limit: number;
  }): Promise<readonly string[] | undefined>;
  totals(): Promise<Totals>;
  /**
   * Evictable content, least recently used first: content that no stored manifest names and no kept repository is linked to. The cost
   * depends on what it returns, not on how much is kept.
   */
  evictable(options: EvictableOptions): Promise<readonly EvictableContent[]>;
  /** Whether what `evictable` returns is neither kept nor named by a manifest: not while names or links may be missing. */
  knowsEvictable(): Promise<boolean>;
  /** Since when every use is recorded: last uses before that are not known. */
  watchingSinceMs(): Promise<number>;
  /** The least recently pulled repository, among those that have links and are not kept, behind so many others. */
  stalestRepository(skip?: number): Promise<StaleRepository | undefined>;
  /**
   * Whether a record is still needed. A tag or a list of referrers is needed while content of its digest is stored and linked to its
   * repository; any other record, while any content of its repository is stored. Of the tags of one repository with the same digest, only a
   * few dozen are needed.
   */
  isNeeded(key: RecordKey): Promise<boolean>;
  /** Bytes of the index's own files on the disk; 0 where it is in memory. */
  fileBytes(): Promise<number>;
  /** Drops a digest from the index. @returns the records that refer to it. */
  forget(digest: Digest): Promise<readonly RecordKey[]>;
  /** Drops the links and tags of a repository. @returns their records. */
  forgetRepository(repositoryId: RepositoryId): Promise<readonly RecordKey[]>;
  /** Whether the totals are those of the store. A new index first has to count what is stored. */
  isCounted(): Promise<boolean>;
  /** Whether the index has everything the store has. During a rebuild, links and the names in manifests may still be missing. */
  isComplete(): Promise<boolean>;
  /** Resolves once the index is complete: at once, or when a running rebuild has ended. */
  whenComplete(options: Waiting): Promise<void>;
}

/** What operators ask of the index. */
export interface Catalogue extends Pick<Index, 'repositories' | 'isNeeded'> {
  /** The tags of a repository, in lexical order; undefined if the index cannot be read now. While it is not complete, some may be missing. */
  tags(repositoryId: RepositoryId, page: TagPage): Promise<readonly IndexedTag[] | undefined>;
  /** The digests that a repository is linked to, in an order of its own, after `after`, at most `limit`; undefined likewise. */
  links(repositoryId: RepositoryId, page: LinkPage): Promise<readonly Digest[] | undefined>;
  /** Undefined likewise. */
  details(digest: Digest): Promise<ContentDetails | undefined>;
}

/** What operators browse. */
export interface CatalogueLists {
  /**
   * Repositories with cached content; undefined if the index cannot be read now. While it is not complete, some may be missing.
   * @throws the signal's reason when it aborts while the index is away.
   */
  listRepositories(query: ListQuery): Promise<FoundPage<ListedRepository> | undefined>;
  /** The tags of all repositories, or of one; undefined likewise. */
  listTags(query: TagListQuery): Promise<FoundPage<ListedTag> | undefined>;
}

/** Which items of a list. Absent: all. */
export interface ListFilter {
  /** The name of an upstream. */
  readonly registry?: string | undefined;
  /** A part of the name, `<upstream>/<repository>` or `<upstream>/<repository>:<tag>`, in lower case; that of the item is compared in lower case. */
  readonly text?: string | undefined;
  /** `os/architecture`, perhaps with a variant: without one, every variant is meant. */
  readonly platform?: string | undefined;
  /** The last pull was then or later. */
  readonly pulledSinceMs?: number | undefined;
  /** The last pull was before; also what was never pulled. */
  readonly pulledBeforeMs?: number | undefined;
  readonly minBytes?: number | undefined;
  readonly maxBytes?: number | undefined;
}

export type ListSort = 'name' | 'lastPull' | 'size';

export interface ListOrder {
  readonly by: ListSort;
  readonly isDescending: boolean;
}

/** Where an item has its place in a list: also once it is gone, or has another. */
export interface ListPosition {
  /** Milliseconds of the last pull, or bytes; 0 in the order of names. */
  readonly value: number;
  /** Of a tag, unless the order is that of names: what has the same value is in the order of digests, then of names. */
  readonly digest?: Digest | undefined;
  /** `<upstream>/<repository>`. */
  readonly name: string;
  readonly tag?: string | undefined;
}

export interface ListQuery {
  readonly filter: ListFilter;
  readonly order: ListOrder;
  /** Begins after this position. */
  readonly after: ListPosition | undefined;
  readonly limit: number;
  /** Ends the wait for an index that is away. */
  readonly signal?: AbortSignal | undefined;
}

export interface TagListQuery extends ListQuery {
  /** Only the tags of this repository. */
  readonly repositoryId?: RepositoryId | undefined;
}

export interface FoundPage<Item> {
  /** At most `limit`; fewer, also none, if too many items had to be looked at. */
  readonly items: readonly Item[];
  /** Where the next page begins; undefined if there is none. */
  readonly next: ListPosition | undefined;
}

export interface ListedRepository {
  readonly repositoryId: RepositoryId;
  readonly tags: number;
  /** The sum of what it is linked to. What other repositories are linked to as well is stored once. */
  readonly bytes: number;
  /** 0 if it is not known. */
  readonly lastPullMs: number;
}

export interface ListedTag extends TagOfRepository {
  readonly digest: Digest;
  /** Whether the manifest that it points at is stored. What follows is known only then. */
  readonly isStored: boolean;
  readonly mediaType: MediaType | undefined;
  /** Of the images that are stored, each `os/architecture` or with a variant; empty where they are not known. */
  readonly platforms: readonly string[];
  /** Of the manifest and what it names; of an image index, and of the images in it that are stored. 0 if it is not known. */
  readonly bytes: number;
  /** When its digest was pulled first, and last. 0 if it is not known. */
  readonly firstPullMs: number;
  readonly lastPullMs: number;
}

/** How many links, tags and manifests that refer to a digest {@link Catalogue.details} tells of. */
export const mostDetails = 10_000;

/** What the index knows of one digest. Lists have at most {@link mostDetails} items. */
export interface ContentDetails {
  /** Undefined if it is not stored. */
  readonly content: { readonly size: number; readonly isManifest: boolean; readonly usedAtMs: number } | undefined;
  /** The repositories that are linked to it; one may occur twice. */
  readonly linkedBy: readonly RepositoryId[];
  readonly tags: readonly TagOfRepository[];
  /** The stored manifests that name it. */
  readonly namedBy: readonly Digest[];
  /** What it names, if it is a stored manifest. */
  readonly names: readonly Digest[];
}

export interface TagOfRepository {
  readonly repositoryId: RepositoryId;
  readonly tag: Tag;
}

export interface LinkPage {
  readonly after: Digest | undefined;
  readonly limit: number;
}

export interface TagPage {
  /** Begins after this tag. */
  readonly after: string | undefined;
  /** At most so many. */
  readonly limit: number;
}

export interface IndexedTag {
  readonly tag: Tag;
  readonly digest: Digest;
  /** Whether the manifest that it points at is stored. */
  readonly isStored: boolean;
}

export interface StaleRepository {
  readonly repositoryId: RepositoryId;
  readonly usedAtMs: number;
}

export interface EvictableOptions {
  readonly limit: number;
  /** Starts after this position; absent: at the least recently used. */
  readonly after?: EvictionPosition | undefined;
}

/** A position in the order in which content is evicted. */
export type EvictionPosition = Pick<EvictableContent, 'usedAtMs' | 'digest'>;

export interface EvictableContent {
  readonly digest: Digest;
  readonly size: number;
  /** The blocks of the disk that it takes. */
  readonly diskBytes: number;
  readonly isManifest: boolean;
  readonly usedAtMs: number;
}
