import { z } from 'zod';
import type { RepositoryId } from '../../../mirror/ports/repository-id.ts';
import { isRepository, parseHostName } from '../../../oci/reference.ts';
import { pageQuery } from './pages.ts';
import { type Route, route } from './route.ts';
import { reloaded, repositories, stats, tags, upstreams } from './schemas.ts';

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

/** Every path of the API, in the order of its description. */
export const routes: readonly Route[] = [
  route({
    method: 'get',
    path: '/api/v1/stats',
    summary: 'What the mirror has served since it started, and what its store holds now.',
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: stats,
    run: (_, administration) => administration.stats(),
  }),
  route({
    method: 'get',
    path: '/api/v1/upstreams',
    summary: 'The upstreams of the configuration: whether they answer, their circuits, rate limits and last failures.',
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: upstreams,
    run: (_, administration) => administration.upstreams(),
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
    run: ({ query }, administration) => administration.repositories(query),
  }),
  route({
    method: 'get',
    path: '/api/v1/repositories/{name}/tags',
    summary: 'The cached tags of a repository, in lexical order.',
    pathParameters: z.strictObject({ name: repositoryName() }),
    query: z.strictObject(pageQuery),
    body: noBody,
    answer: tags,
    run: ({ path, query }, administration) => administration.tags(path.name, query),
  }),
  route({
    method: 'post',
    path: '/api/v1/reload',
    summary: 'Reads the configuration file again, as SIGHUP does. 422 if it is refused: the old one stays in use.',
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: reloaded,
    run: (_, administration) => administration.reload(),
  }),
];
