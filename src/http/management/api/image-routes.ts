import { z } from 'zod';
import type { ImageQuestion } from '../../../mirror/administration/images/image-details.ts';
import { parsePlatform } from '../../../mirror/administration/jobs/image-contents.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { isDigest } from '../../../oci/digest.ts';
import { isTag, type Reference } from '../../../oci/reference.ts';
import { repositoryName } from './catalogue-routes.ts';
import { type Route, route } from './route.ts';
import { amount, inRepository, time } from './schemas.ts';

const digest = () => z.string().describe('`sha256:…` or `sha512:…`.');
const isStored = () => z.boolean().describe('Whether it is in the store.');
const asSaid = 'As the image says; long texts are cut, and nobody has checked them.';
const texts = () => z.record(z.string(), z.string()).describe(`At most 100. ${asSaid}`);

const manifest = {
  digest: digest(),
  mediaType: z.string().optional(),
  size: amount().optional(),
  isStored: isStored(),
};

const tag = z.strictObject({
  tag: z.string(),
  confirmedAt: time().describe('When the upstream last confirmed what it points at.'),
  freshUntil: time().nullable().describe('Until then it is served without asking the upstream; null: for ever.'),
  isFresh: z.boolean().describe('false: the next pull asks the upstream first.'),
  previousDigest: digest().optional().describe('What it pointed at before it last moved.'),
});

const sharingImage = z.strictObject({
  digest: digest(),
  name: z.string().optional().describe('A repository that has it.'),
  tag: z.string().optional().describe('A tag of that repository that points at it.'),
});

const layer = z.strictObject({
  digest: digest(),
  mediaType: z.string(),
  size: amount(),
  predicateType: z.string().optional().describe('Of an attestation by BuildKit: what it says, such as an SBOM.'),
  isStored: isStored(),
  isForeign: z.boolean().describe('Clients fetch it elsewhere: it is never cached.'),
  sharedBy: z.strictObject({
    repositories: z.array(z.string()).describe('Other repositories that are linked to it; at most 10.'),
    moreRepositories: amount(),
    images: z.array(sharingImage).describe('Other stored manifests that name it; at most 10.'),
    moreImages: amount(),
  }),
});

const step = z.strictObject({
  created: time().optional(),
  createdBy: z.string().optional(),
  comment: z.string().optional(),
  isEmptyLayer: z.boolean().describe('It made no layer.'),
});

const config = z.strictObject({
  created: time().optional(),
  author: z.string().optional(),
  os: z.string().optional(),
  architecture: z.string().optional(),
  variant: z.string().optional(),
  labels: texts(),
  history: z.array(step).describe(`At most 200. ${asSaid}`),
});

const platformImage = z.strictObject({
  ...manifest,
  platform: z.string().optional().describe('Such as `linux/arm64/v8`, if it is known.'),
  artifactType: z.string().optional(),
  subject: digest().optional().describe('What it refers to, if it is a referrer.'),
  annotations: texts(),
  config: layer.optional(),
  configuration: config
    .optional()
    .describe('What the config says; absent if it is not stored, larger than 1 MiB, or no config of an image.'),
  layers: z.array(layer).describe('In their order; at most 1000.'),
  storedBytes: amount().describe('Of the manifest and all it names, what is stored.'),
  totalBytes: amount().describe('All of it.'),
});

const listed = z.strictObject({
  ...manifest,
  platform: z.string().optional(),
  attests: digest().optional().describe('The image in this index that it tells about, such as its SBOM or provenance.'),
});

export const referrer = z.strictObject({
  kind: z.enum(['signature', 'sbom', 'provenance', 'attestation', 'other']).describe('By its type.'),
  digest: digest(),
  mediaType: z.string(),
  artifactType: z.string().optional(),
  size: amount(),
  tag: z.string().optional().describe('That it is found by, as cosign writes it: `sha256-….sig`.'),
  isStored: isStored(),
});

const referrers = z.strictObject({
  subject: digest(),
  listedAt: time().optional().describe('When the upstream last listed them; absent if it was never asked.'),
  items: z.array(referrer).describe('At most 100 of the list, and those by tags.'),
  more: amount(),
});

export const image = z
  .strictObject({
    ...inRepository,
    ...manifest,
    tag: tag.optional().describe('The tag by which it was asked for.'),
    tags: z.array(z.string()).describe('Of the repository, that point at it; at most 100.'),
    moreTags: amount(),
    firstPullAt: time().optional(),
    lastPullAt: time().optional().describe('By this tag or otherwise.'),
    isTooLarge: z
      .boolean()
      .describe('The manifest has more than 1 MiB or names more than 1000: it is not looked into.'),
    annotations: texts(),
    manifests: z.array(listed).optional().describe('Of an index that is stored: what it lists.'),
    image: platformImage
      .optional()
      .describe('The manifest itself, or the one of an index for `platform`; absent if it is not stored.'),
    referrers: z.array(referrers).describe('That are cached: of the manifest, and of the image for `platform`.'),
  })
  .meta({ id: 'Image' });

export type Image = z.output<typeof image>;
export type PlatformImage = z.output<typeof platformImage>;

export interface ImagesAdministration {
  /** Reads the cache only. @throws Problem `not-found`, `unavailable`. */
  details(question: Omit<ImageQuestion, 'label'>, waiting: Waiting): Promise<Image>;
}

export interface ImagesNeeds {
  readonly images: ImagesAdministration;
}

const reference = z.string().transform((text, context): Reference => {
  if (isDigest(text) || isTag(text)) return text;
  context.addIssue('expected a tag or a digest');
  return z.NEVER;
});

const platform = z.string().transform((text, context) => {
  const parsed = parsePlatform(text);
  if (parsed) return parsed;
  context.addIssue('expected a platform such as "linux/arm64"');
  return z.NEVER;
});

export const imageRoutes: readonly Route<ImagesNeeds>[] = [
  route({
    method: 'get',
    path: '/api/v1/repositories/{name}/images/{reference}',
    summary: 'What the cache has of an image. No upstream is asked.',
    pathParameters: z.strictObject({
      name: repositoryName(),
      reference: reference.describe('A tag, or a digest of a manifest.'),
    }),
    query: z.strictObject({ platform: platform.optional().describe('Which image of an index is told in full.') }),
    body: z.strictObject({}).optional(),
    answer: image,
    run: ({ path, query, signal }, { images }: ImagesNeeds) =>
      images.details(
        { repositoryId: path.name, reference: path.reference, platform: query.platform, isForClients: false },
        { signal },
      ),
  }),
];
