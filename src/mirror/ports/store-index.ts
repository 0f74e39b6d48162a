import type { Digest } from '../../oci/digest.ts';
import type { MediaType } from '../../oci/media-types.ts';
import type { Tag } from '../../oci/reference.ts';
import type { RecordKey } from './record-store.ts';
import type { RepositoryId } from './repository-id.ts';
import type { Waiting } from './waiting.ts';

export interface IndexedContent {
  readonly digest: Digest;
  readonly size: number;
  readonly isManifest: boolean;
  /** What a manifest names; empty for a blob. */
  readonly names: readonly Digest[];
  readonly usedAtMs: number;
}

export interface Link {
  readonly of: RepositoryId;
  readonly kind: 'manifest' | 'blob';
  readonly digest: Digest;
  /** Of a manifest. */
  readonly mediaType: MediaType | undefined;
  readonly size: number | undefined;
}

export interface Totals {
  /** Of visible content, without what is arriving or set aside. */
  readonly bytes: number;
  readonly manifests: number;
  readonly blobs: number;
  /** The blocks of the disk that it takes. */
  readonly diskBytes: number;
  /** Those of content that repositories named by `storage.keep` are linked to. It is never evicted. */
  readonly keptBytes: number;
  /** Links and tags: each is a small file. */
  readonly records: number;
}

/**
 * A view of the store: sizes, last use, totals, links and tags. It never decides that something cached does not exist.
 * Verbs that only note something never fail the caller: what an index has forgotten, its rebuild finds again.
 */
export interface Index {
  noteContent(content: IndexedContent): void;
  noteUse(digest: Digest, atMs: number): void;
  /** Something was pulled through a repository. */
  noteRepositoryUse(of: RepositoryId, atMs: number): void;
  noteLink(link: Link): void;
  noteTag(of: RepositoryId, tag: Tag, digest: Digest): void;
  /** Drops a tag whose record is gone. */
  forgetTag(of: RepositoryId, tag: Tag): void;
  /**
   * Links that `of` may borrow: a manifest linked in `of` names `digest`, and these repositories of the same upstream are linked to it.
   * A few of them, where there are many.
   */
  borrowableLinks(of: RepositoryId, digest: Digest, kind: Link['kind']): Promise<readonly Link[]>;
  /** Whether it knows content of this digest, whoever brought it. */
  hasContent(digest: Digest): Promise<boolean>;
  /** Repositories with cached content, `<upstream>/<repository>`, in lexical order, after `last`, at most `limit`. */
  repositories(options: { readonly last: string | undefined; readonly limit: number }): Promise<readonly string[]>;
  totals(): Promise<Totals>;
  /**
   * What may be evicted, least recently used first: content that no stored manifest names, and no repository that is kept is linked to.
   * It costs what it returns, however much is kept.
   */
  evictable(options: {
    readonly limit: number;
    /** Goes on behind this one; absent: from the beginning. */
    readonly after?: EvictionPosition | undefined;
  }): Promise<readonly EvictableContent[]>;
  /** Since when it has seen every use: what was not used since may have been used before. */
  watchingSinceMs(): Promise<number>;
  /** That through which nothing was pulled for longest, of those that are linked to something and are not kept. */
  stalestRepository(): Promise<StaleRepository | undefined>;
  /**
   * Whether something is stored that a record speaks of: of a tag or of referrers content that its repository is linked to, or any of its
   * repository. Of the tags of one repository that point at the same, only a few dozen are needed.
   */
  isNeeded(key: RecordKey): Promise<boolean>;
  /** Bytes of the index's own files on the disk; 0 where it is in memory. */
  fileBytes(): Promise<number>;
  /** Drops a digest from the view. @returns the records that spoke of it. */
  forget(digest: Digest): Promise<readonly RecordKey[]>;
  /** Drops the links and tags of a repository. @returns the records that these spoke of. */
  forgetRepository(of: RepositoryId): Promise<readonly RecordKey[]>;
  /** Whether the totals are those of the store. An index that was made anew counts first what lies there. */
  isCounted(): Promise<boolean>;
  /** Whether the view has everything the store has. While a rebuild is under way, nobody knows yet who holds what, and who names it. */
  isComplete(): Promise<boolean>;
  /** Resolves once the view is complete: at once, or when a rebuild that is under way has ended. */
  whenComplete(options: Waiting): Promise<void>;
}

export interface StaleRepository {
  readonly of: RepositoryId;
  readonly usedAtMs: number;
}

/** Whose turn it is, in the order in which content is evicted. */
export type EvictionPosition = Pick<EvictableContent, 'usedAtMs' | 'digest'>;

export interface EvictableContent {
  readonly digest: Digest;
  readonly size: number;
  /** The blocks of the disk that it takes. */
  readonly diskBytes: number;
  readonly isManifest: boolean;
  readonly usedAtMs: number;
}
