import { algorithmOf, type Digest, hexOf } from '../../../oci/digest.ts';
import { isTag, type Tag } from '../../../oci/reference.ts';
import { parseReferrersRecord, type RecordStore } from '../../ports/record-store.ts';
import type { RepositoryId } from '../../ports/repository-id.ts';
import type { TagRecords } from '../../tags/tag-records.ts';
import { cut, type ReferrerKind, referrerKindOf } from './image-documents.ts';

/** What refers to a manifest, as far as the cache knows. */
export interface CachedReferrers {
  readonly subject: Digest;
  /** When the upstream was last asked for the list; undefined if never. */
  readonly listedAtMs: number | undefined;
  readonly referrers: readonly Referrer[];
  /** How many more the list has. */
  readonly more: number;
}

export interface Referrer {
  readonly kind: ReferrerKind;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly artifactType: string | undefined;
  readonly size: number;
  /** That names it, where it is found by a tag: cosign's way before the referrers API. */
  readonly tag: Tag | undefined;
  /** Whether its manifest is stored. */
  readonly isStored: boolean;
}

export interface ReferrersDeps {
  readonly records: Pick<RecordStore, 'read'>;
  readonly tagRecords: Pick<TagRecords, 'get'>;
  readonly isStored: (digest: Digest) => Promise<boolean>;
}

const mostReferrers = 100;
const longestType = 256;
/** cosign's suffixes. */
const kindBySuffix: Readonly<Record<string, ReferrerKind>> = { sig: 'signature', att: 'attestation', sbom: 'sbom' };

/** The cached referrers of a manifest: from the list of the referrers API, and by cosign's tags. */
export async function cachedReferrers(
  { records, tagRecords, isStored }: ReferrersDeps,
  repositoryId: RepositoryId,
  subject: Digest,
): Promise<CachedReferrers> {
  const listed = parseReferrersRecord(await records.read({ kind: 'referrers', repositoryId, digest: subject }));
  const referrers: Referrer[] = [];
  for (const { digest, mediaType, size, artifactType, annotations } of (listed?.referrers ?? []).slice(
    0,
    mostReferrers,
  )) {
    const type = typeof artifactType === 'string' ? cut(artifactType, longestType) : undefined;
    const kind = referrerKindOf(type ?? mediaType, annotations);
    const told = { mediaType: cut(mediaType, longestType), artifactType: type, tag: undefined };
    referrers.push({ kind, digest, size, ...told, isStored: await isStored(digest) });
  }
  for (const [suffix, kind] of Object.entries(kindBySuffix)) {
    const tag = `${algorithmOf(subject)}-${hexOf(subject)}.${suffix}`;
    const record = isTag(tag) ? await tagRecords.get(repositoryId, tag) : undefined;
    if (!record || !isTag(tag)) continue;
    const { digest, mediaType, size } = record;
    referrers.push({ kind, digest, mediaType, size, artifactType: undefined, tag, isStored: await isStored(digest) });
  }
  const more = Math.max(0, (listed?.referrers.length ?? 0) - mostReferrers);
  return { subject, listedAtMs: listed?.fetchedAtMs, referrers, more };
}
