import { z } from 'zod';
import { type Route, route } from '../route.ts';
import { amount, inRepository, time } from '../schemas.ts';

/** In the repository that it was asked for first. */
const download = z.strictObject({
  ...inRepository,
  digest: z.string(),
  receivedBytes: amount().describe('What has arrived, with what an interrupted download had.'),
  totalBytes: amount().nullable().describe('null if the upstream did not say.'),
});

export const downloads = z
  .strictObject({ items: z.array(download).describe('Of blobs, in the order in which they began.') })
  .meta({ id: 'Downloads' });

const eviction = z.strictObject({
  digest: z.string(),
  kind: z.enum(['manifest', 'blob']),
  bytes: amount().describe('What it takes on the disk.'),
  usedAt: time().describe('When it was last used.'),
  repositories: z.array(z.string()).describe('That are linked to it; at most 10.'),
  tags: z.array(z.string()).describe('Full names of tags that point at it; at most 10.'),
});

export const evictions = z
  .strictObject({
    isKnown: z.boolean().describe('false while the index is rebuilt: nothing can be told.'),
    items: z.array(eviction).describe('What is evicted next if space is needed, in order.'),
  })
  .meta({ id: 'Evictions' });

export type Downloads = z.output<typeof downloads>;
export type Evictions = z.output<typeof evictions>;

/** What happens in the store. */
export interface StorageAdministration {
  downloads(): Downloads;
  /** @throws Problem `unavailable` when the index cannot be read. */
  nextEvictions(options: { readonly limit: number }): Promise<Evictions>;
}

export interface StorageNeeds {
  readonly storage: StorageAdministration;
}

const nothing = z.strictObject({});
const noBody = nothing.optional();

export const storageRoutes: readonly Route<StorageNeeds>[] = [
  route({
    method: 'get',
    path: '/api/v1/downloads',
    summary: 'The downloads of blobs that run now.',
    pathParameters: nothing,
    query: nothing,
    body: noBody,
    answer: downloads,
    run: async (_, { storage }: StorageNeeds) => storage.downloads(),
  }),
  route({
    method: 'get',
    path: '/api/v1/storage/evictions',
    summary: 'The content that is evicted next: what was not used for the longest time.',
    pathParameters: nothing,
    query: z.strictObject({
      limit: z
        .string()
        .regex(/^[1-9]\d{0,1}$/, 'expected 1 to 99')
        .transform(Number)
        .prefault('10')
        .describe('How many items, at most 99.'),
    }),
    body: noBody,
    answer: evictions,
    run: ({ query }, { storage }: StorageNeeds) => storage.nextEvictions(query),
  }),
];
