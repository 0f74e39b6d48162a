import { type Digest, isDigest } from '../../oci/digest.ts';
import type { Tag } from '../../oci/reference.ts';
import { type RepositoryId, repositoryKey } from './repository-id.ts';
import { type Descriptor, isDescriptor } from '../../oci/manifest.ts';
import { isMediaType, type MediaType } from '../../oci/media-types.ts';
import { parseTagNames, type TagNames } from '../listings/tag-names.ts';
import type { RepositoryVisibility } from './upstream.ts';
import { isJsonObject } from '../../oci/json.ts';

/** The name of one record in the store. */
export type RecordKey =
  | { readonly kind: 'tag'; readonly repositoryId: RepositoryId; readonly tag: Tag }
  | { readonly kind: 'manifest' | 'blob' | 'referrers'; readonly repositoryId: RepositoryId; readonly digest: Digest }
  | { readonly kind: 'tag-list' | 'visibility'; readonly repositoryId: RepositoryId };

/** `loose`: without links, which are most of the records; others may be listed too. */
export type ListedRecords = 'all' | 'loose';

/** Small JSON documents that survive a restart. Each write takes effect whole or not at all. */
export interface RecordStore {
  /** @returns undefined when it was never written, or can't be parsed. */
  read(key: RecordKey): Promise<unknown>;
  write(key: RecordKey, value: object): Promise<void>;
  remove(key: RecordKey): Promise<void>;
  /** Records, in no order; by default all. After one full iteration {@link use} counts all of them. */
  list(which?: ListedRecords): AsyncIterable<RecordKey>;
  /** The records of one repository, in no order: none of those below it. @throws the disk's error. */
  listOf(repositoryId: RepositoryId): AsyncIterable<RecordKey>;
  /** The disk use that is known: of the records' folders, and of the records that no index counts (neither links nor tags). */
  use(): DiskUse;
}

/** Which records there are, read from the store itself: for use without an index. */
export interface RecordFolders {
  /** Repositories of an upstream that have records, in no order. */
  repositoriesOf(upstream: string): AsyncIterable<RepositoryId>;
  /** The manifests that a repository has records of, in no order. */
  manifestsOf(repositoryId: RepositoryId): AsyncIterable<Digest>;
}

/** A record's name as text, such as `tag docker.io/library/alpine 3.20`. */
export function recordName(key: RecordKey): string {
  const which = key.kind === 'tag' ? key.tag : 'digest' in key ? key.digest : '';
  return `${key.kind} ${repositoryKey(key.repositoryId)} ${which}`;
}

/** Each record once. */
export function distinctRecords(keys: readonly RecordKey[]): readonly RecordKey[] {
  return [...new Map(keys.map((key) => [recordName(key), key])).values()];
}

/** A cached tag. */
export interface TagRecord {
  readonly digest: Digest;
  /** The digest before the tag last moved. */
  readonly previous?: Digest;
  readonly mediaType: MediaType;
  readonly size: number;
  /** When the upstream last confirmed it. */
  readonly confirmedAtMs: number;
}

/** A repository may serve this manifest. */
export interface ManifestRecord {
  readonly mediaType: MediaType;
  readonly size: number;
  readonly firstServedAtMs: number;
}

/** A repository may serve this blob. The size is absent if the upstream confirmed the blob without a length. */
export interface BlobRecord {
  readonly size?: number;
  readonly firstServedAtMs: number;
}

export interface TagListRecord {
  readonly names: TagNames;
  readonly fetchedAtMs: number;
}

export interface ReferrersRecord {
  readonly referrers: readonly Descriptor[];
  readonly fetchedAtMs: number;
}

/** Whether a repository is public, as an anonymous request found out. */
export interface VisibilityRecord {
  readonly verdict: RepositoryVisibility;
  readonly askedAtMs: number;
}

// Records are read as `unknown`. A record that does not parse was not written by this version, and counts as absent.

/**
 * A tag's record as stored. It names its tag, because on a case-insensitive disk the file of `V1` is also found as `v1`.
 */
export function storedTagRecord(tag: Tag, record: TagRecord): object {
  return { tag, ...record };
}

/** @returns undefined also for the record of another tag. */
export function parseTagRecord(value: unknown, wantedTag: Tag): TagRecord | undefined {
  if (!isJsonObject(value)) return undefined;
  const { tag = wantedTag, digest, previous, mediaType, size, confirmedAtMs } = value;
  if (tag !== wantedTag) return undefined;
  if (!isDigest(digest) || !isMediaType(mediaType) || !isCount(size) || !isCount(confirmedAtMs)) return undefined;
  return { digest, mediaType, size, confirmedAtMs, ...(isDigest(previous) && { previous }) };
}

export function parseManifestRecord(value: unknown): ManifestRecord | undefined {
  if (!isJsonObject(value)) return undefined;
  const { mediaType, size, firstServedAtMs } = value;
  if (!isMediaType(mediaType) || !isCount(size) || !isCount(firstServedAtMs)) return undefined;
  return { mediaType, size, firstServedAtMs };
}

export function parseBlobRecord(value: unknown): BlobRecord | undefined {
  if (!isJsonObject(value)) return undefined;
  const { size, firstServedAtMs } = value;
  if (!isCount(firstServedAtMs)) return undefined;
  return { firstServedAtMs, ...(isCount(size) && { size }) };
}

export function parseTagListRecord(value: unknown): TagListRecord | undefined {
  if (!isJsonObject(value)) return undefined;
  const { fetchedAtMs } = value;
  const names = parseTagNames(value['names']);
  return names === undefined || !isCount(fetchedAtMs) ? undefined : { names, fetchedAtMs };
}

export function parseReferrersRecord(value: unknown): ReferrersRecord | undefined {
  if (!isJsonObject(value)) return undefined;
  const { referrers, fetchedAtMs } = value;
  if (!Array.isArray(referrers) || !isCount(fetchedAtMs)) return undefined;
  return { referrers: referrers.filter(isDescriptor), fetchedAtMs };
}

export function parseVisibilityRecord(value: unknown): VisibilityRecord | undefined {
  if (!isJsonObject(value)) return undefined;
  const { verdict, askedAtMs } = value;
  if ((verdict !== 'public' && verdict !== 'hidden') || !isCount(askedAtMs)) return undefined;
  return { verdict, askedAtMs };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

/** A file takes whole blocks of the disk: 4 KiB each on ext4, XFS and APFS. */
export const blockBytes = 4096;

/** How much of the disk a part of a store uses. */
export interface DiskUse {
  /** In whole blocks. */
  readonly bytes: number;
  /** Files and folders: each takes an inode. */
  readonly files: number;
}

/** How many bytes of the disk a file of `size` bytes uses. */
export function bytesOnDisk(size: number): number {
  return Math.ceil(size / blockBytes) * blockBytes;
}
