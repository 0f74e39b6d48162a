import { z } from 'zod';
import { type ImageGlob, imageGlob } from '../../../../mirror/administration/purge-by-glob.ts';
import type { PurgeTarget } from '../../../../mirror/administration/purge-removal.ts';
import type { Waiting } from '../../../../mirror/ports/waiting.ts';
import { isDigest } from '../../../../oci/digest.ts';
import { isTag } from '../../../../oci/reference.ts';
import { repositoryName } from '../catalogue-routes.ts';
import { type Route, route } from '../route.ts';
import { amount } from '../schemas.ts';

/** What the API asks of purges. */
export interface PurgeAdministration {
  /** @throws Problem when it is not cached, or the index cannot tell what is needed. */
  purge(target: PurgeTarget, options: PurgeOptions): Promise<PurgeAnswer>;
  /** @throws Problem when the index cannot tell what the glob names. */
  purgeByGlob(glob: ImageGlob, options: PurgeOptions): Promise<GlobPurgeAnswer>;
}

/** What the routes of purges need. */
export interface PurgeNeeds {
  readonly purges: PurgeAdministration;
}

export type PurgeOptions = Waiting & { readonly dryRun: boolean };

export function tagName() {
  return z.string().refine(isTag, 'expected a tag');
}

export function digestName() {
  return z.string().refine(isDigest, 'expected a digest');
}

const nothing = z.strictObject({});
const listed = 'At most the first 1000.';

export const purged = z
  .strictObject({
    dryRun: z.boolean().describe('Whether nothing was removed: this is what would be.'),
    repository: z.string(),
    removed: z.strictObject({
      tags: amount(),
      manifests: amount(),
      blobs: amount(),
      bytes: amount().describe('Length of the manifests and blobs.'),
    }),
    kept: amount().describe('Contents that stay, because another tag, image or repository needs them.'),
    tags: z.array(z.string()).describe(listed),
    digests: z.array(z.string()).describe(listed),
  })
  .meta({ id: 'Purged' });

const removedCounts = z.strictObject({
  tags: amount(),
  manifests: amount(),
  blobs: amount(),
  bytes: amount().describe('Length of the manifests and blobs.'),
});

export const purgedByGlob = z
  .strictObject({
    dryRun: z.boolean().describe('Whether nothing was removed: this is what would be.'),
    glob: z.string(),
    repositories: amount().describe('How many repositories it names something of.'),
    removed: removedCounts.describe('Of all of them.'),
    items: z.array(z.strictObject({ repository: z.string(), removed: removedCounts })).describe(listed),
    refused: amount().describe('How many of them stay as they are, or in part.'),
    refusals: z.array(z.strictObject({ repository: z.string(), reason: z.string() })).describe(listed),
  })
  .meta({ id: 'PurgedByGlob' });

export type PurgeAnswer = z.output<typeof purged>;
export type GlobPurgeAnswer = z.output<typeof purgedByGlob>;

const dryRun = () => z.boolean().prefault(false).describe('Says what would be removed, and removes nothing.');

function purgeBody() {
  return z
    .strictObject({
      repository: repositoryName(),
      tag: tagName().optional().describe('Only this tag.'),
      digest: digestName().optional().describe('Only this digest, with its tags.'),
      dryRun: dryRun(),
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

const globBody = z.strictObject({
  glob: z
    .string()
    .max(512)
    .transform((text, context): ImageGlob => {
      const glob = imageGlob(text);
      if (glob !== undefined) return glob;
      context.addIssue('expected a glob such as "docker.io/library/*" or "docker.io/**:*-dev"');
      return z.NEVER;
    })
    .describe(
      'Over `<upstream>/<repository>`: these repositories; with `:` and a glob over tags: only these tags of them. `*` stands for anything but `/`, `**` for anything.',
    ),
  dryRun: dryRun(),
});

export const purgeRoutes: readonly Route<PurgeNeeds>[] = [
  route({
    method: 'post',
    path: '/api/v1/purge',
    summary:
      'Removes a tag, a digest or a whole repository from the cache of this process. What another tag, image or repository needs stays.',
    pathParameters: nothing,
    query: nothing,
    body: purgeBody(),
    answer: purged,
    run: ({ body, signal }, { purges }: PurgeNeeds) => purges.purge(body.target, { dryRun: body.dryRun, signal }),
  }),
  route({
    method: 'post',
    path: '/api/v1/purge/by-glob',
    summary:
      'Purges what a glob names, one repository after the other. It ends after the one at hand when its client leaves.',
    pathParameters: nothing,
    query: nothing,
    body: globBody,
    answer: purgedByGlob,
    run: ({ body, signal }, { purges }: PurgeNeeds) => purges.purgeByGlob(body.glob, { dryRun: body.dryRun, signal }),
  }),
];
