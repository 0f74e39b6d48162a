import type { Readable } from 'node:stream';
import { z } from 'zod';
import type { ExportOrder } from '../../../../mirror/administration/archives/export-images.ts';
import type { ImportOrder } from '../../../../mirror/administration/archives/import-images.ts';
import type { Waiting } from '../../../../mirror/ports/waiting.ts';
import { type ImageName, parseImageName } from '../../../../oci/image-name.ts';
import { imageName, mostImages, platformList } from '../jobs-routes.ts';
import { type Route, route } from '../route.ts';
import { amount } from '../schemas.ts';

export type AskedExport = ExportOrder;
export type AskedImport = ImportOrder;

/** What the API asks of archives. */
export interface ArchivesAdministration {
  /** @returns the archive while it is read. @throws Problem that lists what is missing, if an image is not whole. */
  export(order: AskedExport, waiting: Waiting): Promise<Readable>;
  /** @throws Problem when the archive is refused, or cannot be stored. */
  import(incoming: Readable, order: AskedImport, waiting: Waiting): Promise<ImportAnswer>;
}

/** What the routes of archives need. */
export interface ArchivesNeeds {
  readonly archives: ArchivesAdministration;
}

export const archiveType = 'application/x-tar';

export const imported = z
  .strictObject({
    images: z
      .array(
        z.strictObject({
          image: z.string().describe('Its full name; of what refers to an image, its repository.'),
          digest: z.string(),
          manifests: amount(),
          blobs: amount(),
          problem: z.string().optional().describe('Why it is not served, for people. Absent: it is.'),
        }),
      )
      .describe('What the index of the archive lists, in its order.'),
    written: amount().describe('How many contents were written.'),
    bytes: amount().describe('Of these.'),
    present: amount().describe('How many contents were stored already.'),
  })
  .meta({ id: 'Imported' });

export type ImportAnswer = z.output<typeof imported>;

const exportBody = z
  .strictObject({
    images: z.array(imageName()).min(1).max(mostImages),
    platforms: platformList()
      .optional()
      .describe('Of image indexes, such as `linux/arm64`; or `all`. Absent: those that are stored.'),
    referrers: z.boolean().prefault(true).describe('Whether stored signatures, SBOMs and the like are exported too.'),
  })
  .transform(({ platforms, ...order }): AskedExport => ({ ...order, platforms: platforms ?? 'stored' }));

const importQuery = z.strictObject({
  names: z
    .string()
    .max(8_000)
    .transform((text, context) => {
      const names = namesIn(text);
      if (typeof names !== 'string') return names;
      context.addIssue(names);
      return z.NEVER;
    })
    .optional()
    .describe('`<name in the archive>=<full name>`, with commas between: the names to import under.'),
  public: z
    .enum(['true', 'false'])
    .optional()
    .describe('`true`: repositories of which the upstream has not said that they are public count as public.'),
});

/** @returns what is wrong, if it is. Pure. */
export function namesIn(text: string): ReadonlyMap<string, ImageName> | string {
  const names = new Map<string, ImageName>();
  for (const pair of text.split(',')) {
    const at = pair.lastIndexOf('=');
    const name = at > 0 ? parseImageName(pair.slice(at + 1)) : `"${pair}" is no <old>=<new>`;
    if (typeof name === 'string') return name;
    names.set(pair.slice(0, at), name);
  }
  return names;
}

const nothing = z.strictObject({});

export const archiveRoutes: readonly Route<ArchivesNeeds>[] = [
  route({
    method: 'post',
    path: '/api/v1/export',
    summary:
      'Cached images as an OCI image layout in a tar. No upstream is asked; 404 if an image is not whole in the cache. A connection that is cut means that the archive is not whole.',
    pathParameters: nothing,
    query: nothing,
    body: exportBody,
    contentType: archiveType,
    answer: z.string().describe('A tar.').meta({ id: 'Archive', format: 'binary' }),
    run: ({ body, signal }, { archives }: ArchivesNeeds) => archives.export(body, { signal }),
  }),
  route({
    method: 'post',
    path: '/api/v1/import',
    summary:
      'Stores the images of an OCI image layout, sent as a tar of any size, and serves them under the names that its index gives. Every content is verified.',
    pathParameters: nothing,
    query: importQuery,
    body: nothing.optional(),
    takes: archiveType,
    answer: imported,
    run: ({ query: { names = new Map(), public: isPublic }, incoming, signal }, { archives }: ArchivesNeeds) =>
      archives.import(incoming, { names, isPublic: isPublic === 'true' }, { signal }),
  }),
];
