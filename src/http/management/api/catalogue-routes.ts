import { z } from 'zod';
import type { RepositoryId } from '../../../mirror/ports/repository-id.ts';
import type { ListFilter, ListOrder, ListPosition } from '../../../mirror/ports/store-index.ts';
import { isDigest } from '../../../oci/digest.ts';
import { isRepository, parseHostName } from '../../../oci/reference.ts';
import { Problem } from '../problems.ts';
import { cursorOf, pageOf, pageQuery } from './pages.ts';
import { checked, type Route, route } from './route.ts';
import { amount, inRepository, time } from './schemas.ts';

/** A part of a list. */
export interface AskedList {
  readonly filter: ListFilter;
  readonly order: ListOrder;
  readonly after: ListPosition | undefined;
  readonly limit: number;
  readonly signal: AbortSignal;
}

/** What the lists need of the mirror. */
export interface CatalogueAdministration {
  repositories(asked: AskedList): Promise<Repositories>;
  /** Of all repositories, or of one. @throws Problem `not-found` for a repository that nothing is cached of. */
  tags(asked: AskedList, repositoryId?: RepositoryId): Promise<Tags>;
}

export interface CatalogueNeeds {
  readonly catalogue: CatalogueAdministration;
}

/** A full name. In a path its slashes are written `%2F`. */
export function repositoryName() {
  return z
    .string()
    .transform((name, context): RepositoryId => {
      const at = name.indexOf('/');
      const [upstream, rest] = [parseHostName(name.slice(0, at)), name.slice(at + 1)];
      if (at > 0 && upstream !== undefined && isRepository(rest)) return { upstream, repository: rest };
      context.addIssue('expected a name such as "docker.io/library/nginx"');
      return z.NEVER;
    })
    .describe('`<upstream>/<repository>`, such as `docker.io/library/nginx`; in a path with `%2F` for each slash.');
}

export const repository = z.strictObject({
  ...inRepository,
  tags: amount().describe('How many tags of it are cached.'),
  bytes: amount().describe('Of all that it is linked to. What other repositories share counts for each of them.'),
  lastPullAt: time().optional().describe('When something was pulled through it last; absent if that is not known.'),
});

export const repositories = pageOf('Repositories', repository);

export const tag = z.strictObject({
  ...inRepository,
  tag: z.string(),
  digest: z.string().describe('What it pointed at when it was last confirmed.'),
  isStored: z.boolean().describe('Whether the manifest with this digest is stored.'),
  mediaType: z.string().optional().describe('Of the manifest.'),
  platforms: z
    .array(z.string())
    .describe('Of the images that are stored, such as `linux/arm64/v8`; empty where they are not known.'),
  bytes: amount()
    .optional()
    .describe('Of the manifest and all it names; of an image index, with the images in it that are stored.'),
  firstPullAt: time().optional().describe('When the digest was pulled first.'),
  lastPullAt: time().optional().describe('When the digest was pulled last, by this tag or otherwise.'),
  confirmedAt: time()
    .optional()
    .describe('When the upstream last confirmed what the tag points at; absent if that is not in memory.'),
  isFresh: z.boolean().optional().describe('Whether it is served without asking the upstream.'),
});

export const tags = pageOf('Tags', tag);

export type Repositories = z.output<typeof repositories>;
export type Tags = z.output<typeof tags>;

const text = () => z.string().min(1).max(300);
const bytes = () =>
  z
    .string()
    .regex(/^\d{1,15}$/, 'expected a number of bytes')
    .transform(Number)
    .optional();
const milliseconds = () =>
  time()
    .transform((written) => Date.parse(written))
    .optional();

const sorting = {
  sort: z
    .enum(['name', 'lastPull', 'size'])
    .prefault('name')
    .describe('What the order is by. By `lastPull`, what was never pulled counts as the oldest.'),
  order: z
    .enum(['asc', 'desc'])
    .optional()
    .describe('By default `asc` for names, and `desc` (last pulled first, largest first) otherwise.'),
};

const tagFilter = {
  text: text().optional().describe('Only those whose full name contains this text, in upper or lower case.'),
  platform: z
    .string()
    .regex(/^[\w.-]{1,64}\/[\w.-]{1,64}(?:\/[\w.-]{1,64})?$/, 'expected a platform such as "linux/arm64"')
    .optional()
    .describe('Only those of which an image for this platform is stored. Without a variant, every variant is meant.'),
  pulledSince: milliseconds().describe('Only those whose last pull was at this time or later.'),
  pulledBefore: milliseconds().describe('Only those whose last pull was before, or that were never pulled.'),
  minBytes: bytes().describe('Only those with at least so many bytes.'),
  maxBytes: bytes().describe('Only those with at most so many bytes.'),
};

const registry = { registry: text().optional().describe('Only those of this upstream, such as `docker.io`.') };
const listQuery = z.strictObject({ ...pageQuery, ...sorting, ...registry, ...tagFilter });
const tagsQuery = z.strictObject({ ...pageQuery, ...sorting, ...tagFilter });

const position = z.tuple([
  z.enum(['name', 'lastPull', 'size']),
  z.boolean(),
  z.number().min(0),
  z.string(),
  z.string(),
  z.string(),
]);

/** A list as a query asks for it. @throws Problem for an invalid query, or a cursor of another order. */
export function listAsked(query: Readonly<Record<string, string>>, signal: AbortSignal): AskedList {
  return askedIn(checked(listQuery, query, 'the query'), signal);
}

/** @throws Problem for a cursor of another order. */
function askedIn(query: z.output<typeof listQuery>, signal: AbortSignal): AskedList {
  const { limit, cursor, sort, order: direction, pulledSince, pulledBefore, text: part, ...filter } = query;
  const order = { by: sort, isDescending: direction === undefined ? sort !== 'name' : direction === 'desc' };
  return {
    limit,
    order,
    signal,
    filter: { ...filter, text: part?.toLowerCase(), pulledSinceMs: pulledSince, pulledBeforeMs: pulledBefore },
    after: cursor === undefined ? undefined : positionIn(cursor, order),
  };
}

function positionIn(cursor: string, order: ListOrder): ListPosition {
  const { data } = position.safeParse(jsonOf(cursor));
  if (data === undefined || data[0] !== order.by || data[1] !== order.isDescending)
    throw new Problem('invalid-request', 'the query is invalid: cursor: it is of a list in another order');
  const [, , value, digest, name, tagName] = data;
  return { value, digest: isDigest(digest) ? digest : undefined, name, tag: tagName === '' ? undefined : tagName };
}

function jsonOf(written: string): unknown {
  try {
    return JSON.parse(written);
  } catch {
    return undefined;
  }
}

/** The cursor of the page that begins after a position. Pure. */
export function cursorAfter({ value, digest, name, tag: tagName }: ListPosition, order: ListOrder): string {
  return cursorOf(JSON.stringify([order.by, order.isDescending, value, digest ?? '', name, tagName ?? '']));
}

const nothing = z.strictObject({});
const noBody = nothing.optional();

export const catalogueRoutes: readonly Route<CatalogueNeeds>[] = [
  route({
    method: 'get',
    path: '/api/v1/repositories',
    summary: 'The repositories with cached content.',
    pathParameters: nothing,
    query: listQuery,
    body: noBody,
    answer: repositories,
    run: ({ query, signal }, { catalogue }: CatalogueNeeds) => catalogue.repositories(askedIn(query, signal)),
  }),
  route({
    method: 'get',
    path: '/api/v1/repositories/{name}/tags',
    summary: 'The cached tags of a repository.',
    pathParameters: z.strictObject({ name: repositoryName() }),
    query: tagsQuery,
    body: noBody,
    answer: tags,
    run: ({ path, query, signal }, { catalogue }: CatalogueNeeds) => catalogue.tags(askedIn(query, signal), path.name),
  }),
  route({
    method: 'get',
    path: '/api/v1/tags',
    summary: 'The cached tags of all repositories.',
    pathParameters: nothing,
    query: listQuery,
    body: noBody,
    answer: tags,
    run: ({ query, signal }, { catalogue }: CatalogueNeeds) => catalogue.tags(askedIn(query, signal)),
  }),
];
