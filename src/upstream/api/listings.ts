import { ListingTooLong, type TagsWaiting } from '../../mirror/ports/upstream.ts';
import { UpstreamError } from '../../oci/errors.ts';
import type { Repository } from '../../oci/reference.ts';
import { type PageRefusal, readPages } from './pages.ts';
import { discard } from '../transport/read-at-most.ts';
import type { Requests } from './requests.ts';
import { parseJsonObject } from '../../oci/json.ts';

/** ECR answers 405 to more than 1000; many registries list 50 or 100 when no number is asked for. */
const tagsPerPage = 1000;
const maxTags = 200_000;
const maxListingBytes = 16 * 1024 * 1024;

/** The answers to a page size above a registry's limit, such as distribution's `tags.maxtags`. */
const refusesNumber: ReadonlySet<number> = new Set([400, 405, 406, 413, 414, 416, 422, 501]);

/**
 * All tags, page by page, without repetitions: at most two hundred thousand. A registry that refuses pages of a thousand, or answers them
 * without a next page, is asked for pages of its own size. With `only` a single page.
 * @throws ListingTooLong beyond the bounds; OciError NAME_UNKNOWN or DENIED; UpstreamError also where the list has no end.
 */
export async function listTags(
  requests: Requests,
  repository: Repository,
  options: TagsWaiting,
): Promise<readonly string[]> {
  const listed = await tagsAt(
    requests.urlOf(repository, `tags/list?${firstPage(options)}`),
    requests,
    repository,
    options,
  );
  if (listed.tags) return listed.tags;
  if (options.only || !mayBeForItsNumber(listed.refusal))
    throw await requests.failureOf(listed.refusal.answer, 'NAME_UNKNOWN', { isListing: true });
  await discard(listed.refusal.answer);
  const unnumbered = await tagsAt(requests.urlOf(repository, 'tags/list'), requests, repository, options);
  if (unnumbered.tags) return unnumbered.tags;
  throw await requests.failureOf(unnumbered.refusal.answer, 'NAME_UNKNOWN', { isListing: true });
}

function firstPage({ only }: TagsWaiting): string {
  const { limit = tagsPerPage, last } = only ?? {};
  return new URLSearchParams({
    n: String(Math.min(Math.max(1, limit), tagsPerPage)),
    ...(last !== undefined && { last }),
  }).toString();
}

function mayBeForItsNumber({ answer: { status }, pagesRead }: PageRefusal): boolean {
  return refusesNumber.has(status) || (status === 404 && pagesRead > 0);
}

type Listed = { readonly tags: readonly string[] } | { readonly tags?: undefined; readonly refusal: PageRefusal };

async function tagsAt(url: URL, requests: Requests, repository: Repository, options: TagsWaiting): Promise<Listed> {
  const tags = new Set<string>();
  let isFirst = true;
  const refusal = await readPages(
    requests,
    { url, kind: 'tags', repository, maxBytes: maxListingBytes },
    options,
    ({ bytes, hasNext }) => {
      const before = tags.size;
      const page = tagsIn(bytes, url);
      for (const tag of page) tags.add(tag);
      if (tags.size > maxTags) throw new ListingTooLong(url.host);
      options.onPage?.({ tags: page, isFirst, hasNext });
      isFirst = false;
      if (options.only) return 'end';
      return tags.size > before ? 'new' : 'nothing new';
    },
  );
  return refusal ? { refusal } : { tags: [...tags] };
}

function tagsIn(bytes: Uint8Array, { host }: URL): readonly string[] {
  const tags = parseJsonObject(bytes)?.['tags'];
  if (Array.isArray(tags)) return tags.filter((tag) => typeof tag === 'string');
  // Registries written in Go send null for an empty list.
  if (tags === null) return [];
  throw new UpstreamError('misbehaving', `${host} sent a listing without tags`);
}
