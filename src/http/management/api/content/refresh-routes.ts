import { z } from 'zod';
import type { RepositoryId } from '../../../../mirror/ports/repository-id.ts';
import type { Waiting } from '../../../../mirror/ports/waiting.ts';
import type { Tag } from '../../../../oci/reference.ts';
import { repositoryName } from '../catalogue-routes.ts';
import { tagName } from './purge-routes.ts';
import { type Route, route } from '../route.ts';
import { time } from '../schemas.ts';

/** What the routes of refreshes need. */
export interface RefreshNeeds {
  /**
   * @throws Problem `not-found` for a tag that is not cached, or that the upstream does not have any more; `upstream-failed` and
   * `upstream-unavailable`, with the digest that is kept.
   */
  refresh(repositoryId: RepositoryId, tag: Tag, waiting: Waiting): Promise<RefreshAnswer>;
}

export const refreshed = z
  .strictObject({
    repository: z.string(),
    tag: z.string(),
    hasMoved: z.boolean(),
    previousDigest: z.string().describe('What it pointed at as far as the cache knew.'),
    digest: z.string().describe('What it points at. Its manifest is fetched by the next pull.'),
    confirmedAt: time().describe('When the upstream said so.'),
  })
  .meta({ id: 'Refreshed' });

export type RefreshAnswer = z.output<typeof refreshed>;

const nothing = z.strictObject({});

export const refreshRoutes: readonly Route<RefreshNeeds>[] = [
  route({
    method: 'post',
    path: '/api/v1/refresh',
    summary:
      'Asks the upstream now what a cached tag points at, however fresh it is. 502 or 503 if it does not tell: what is cached stays.',
    pathParameters: nothing,
    query: nothing,
    body: z.strictObject({ repository: repositoryName(), tag: tagName() }),
    answer: refreshed,
    run: ({ body, signal }, needs: RefreshNeeds) => needs.refresh(body.repository, body.tag, { signal }),
  }),
];
