import { z } from 'zod';
import type { RepositoryFilter } from '../../../mirror/administration/catalogue.ts';
import type { PurgeTarget } from '../../../mirror/administration/purge.ts';
import type { RepositoryId } from '../../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { isDigest } from '../../../oci/digest.ts';
import { isRepository, isTag, parseHostName } from '../../../oci/reference.ts';
import { pageQuery } from './pages.ts';
import { type Route, route } from './route.ts';
import {
  type PurgeAnswer,
  type Reloaded,
  type Repositories,
  type Stats,
  type Tags,
  type Upstreams,
  purged,
  reloaded,
  repositories,
  stats,
  tags,
  upstreams,
} from './schemas.ts';

/** A part of a list; `cursor` is the last item of the page before. */
export interface AskedPage {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** What the API may ask of the mirror: the needs of all its routes. */
export interface Administration {
  stats(): Promise<Stats>;
  upstreams(): Promise<Upstreams>;
  repositories(asked: AskedPage & RepositoryFilter): Promise<Repositories>;
  /** @throws Problem `not-found` for a repository that nothing is cached of. */
  tags(repositoryId: RepositoryId, page: AskedPage): Promise<Tags>;
  /** @throws Problem when it is not cached, or the index cannot tell what is needed. */
  purge(target: PurgeTarget, options: Waiting & { readonly dryRun: boolean }): Promise<PurgeAnswer>;
  /** Reads the configuration file again. @throws Problem `refused` with every problem of the file. */
  reload(): Promise<Reloaded>;
}

const nothing = z.strictObject({});
const noBody = z.strictObject({}).optional();

/** A full name. In a path its slashes are written `%2F`. */
function repositoryName() {
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

function purgeBody() {
  return z
    .strictObject({
      repository: repositoryName(),
      tag: z.string().refine(isTag, 'expected a tag').optional().describe('Only this tag.'),
      digest: z.string().refine(isDigest, 'expected a digest').optional().describe('Only this digest, with its tags.'),
      dryRun: z.boolean().prefault(false).describe('Says what would be removed, and removes nothing.'),
    })
    .transform(
      ({ repository, tag, digest, dryRun }, context): { readonly dryRun: boolean; readonly target: PurgeTarget } => {
        if (tag !== undefined && digest !== undefined) {
          context.addIssue('expected a tag or a digest, not both');
          return z.NEVER;
        }
        const repositoryId = repository;
        if (tag !== undefined) return { dryRun, target: { kind: 'tag', repositoryId, tag } };
        if (digest !== undefined) return { dryRun, target: { kind: 'digest', repositoryId, digest } };
        return { dryRun, target: { kind: 'repository', repositoryId } };
      },
    );
}

/** Every path of the API, in the order of its description. */
export const routes: readonly Route<Administration>[] = [
  route({
    method: 'get',
    path: '/api/v1/stats',
    summary: 'What the mirror has served since it started, and what its store holds now.',
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: stats,
    run: (_, administration: Administration) => administration.stats(),
  }),
  route({
    method: 'get',
    path: '/api/v1/upstreams',
    summary: 'The upstreams of the configuration: whether they answer, their circuits, rate limits and last failures.',
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: upstreams,
    run: (_, administration: Administration) => administration.upstreams(),
  }),
  route({
    method: 'get',
    path: '/api/v1/repositories',
    summary: 'The repositories with cached content, in lexical order of their names.',
    pathParameters: nothing,
    query: z.strictObject({
      ...pageQuery,
      registry: z.string().min(1).max(300).optional().describe('Only those of this upstream, such as `docker.io`.'),
      text: z.string().min(1).max(300).optional().describe('Only those whose name contains this text.'),
    }),
    body: noBody,
    answer: repositories,
    run: ({ query }, administration: Administration) => administration.repositories(query),
  }),
  route({
    method: 'get',
    path: '/api/v1/repositories/{name}/tags',
    summary: 'The cached tags of a repository, in lexical order.',
    pathParameters: z.strictObject({ name: repositoryName() }),
    query: z.strictObject(pageQuery),
    body: noBody,
    answer: tags,
    run: ({ path, query }, administration: Administration) => administration.tags(path.name, query),
  }),
  route({
    method: 'post',
    path: '/api/v1/purge',
    summary:
      'Removes a tag, a digest or a whole repository from the cache of this process. What another tag, image or repository needs stays.',
    pathParameters: nothing,
    query: nothing,
    body: purgeBody(),
    answer: purged,
    run: ({ body, signal }, administration: Administration) =>
      administration.purge(body.target, { dryRun: body.dryRun, signal }),
  }),
  route({
    method: 'post',
    path: '/api/v1/reload',
    summary: 'Reads the configuration file again, as SIGHUP does. 422 if it is refused: the old one stays in use.',
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: reloaded,
    run: (_, administration: Administration) => administration.reload(),
  }),
];
