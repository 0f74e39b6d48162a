import { z } from 'zod';
import type { PurgeTarget } from '../../../mirror/administration/purge.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { isDigest } from '../../../oci/digest.ts';
import { isTag } from '../../../oci/reference.ts';
import { type CatalogueNeeds, catalogueRoutes, repositoryName } from './catalogue-routes.ts';
import { type Route, route } from './route.ts';
import {
  type PurgeAnswer,
  type Reloaded,
  type Stats,
  type Upstreams,
  purged,
  reloaded,
  stats,
  upstreams,
} from './schemas.ts';

/** What the API may ask of the mirror: the needs of all its routes. */
export interface Administration extends CatalogueNeeds {
  stats(): Promise<Stats>;
  upstreams(): Promise<Upstreams>;
  /** @throws Problem when it is not cached, or the index cannot tell what is needed. */
  purge(target: PurgeTarget, options: Waiting & { readonly dryRun: boolean }): Promise<PurgeAnswer>;
  /** Reads the configuration file again. @throws Problem `refused` with every problem of the file. */
  reload(): Promise<Reloaded>;
}

const nothing = z.strictObject({});
const noBody = z.strictObject({}).optional();

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
  ...catalogueRoutes,
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
