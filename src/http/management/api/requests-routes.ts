import { z } from 'zod';
import type { AnsweredRequest, RecentRequests } from '../../middleware/access-log.ts';
import { type Route, route } from './route.ts';
import { amount, cacheWords, isoOf, time } from './schemas.ts';

export const request = z
  .strictObject({
    number: z.int().min(1).describe('Counted since the start of the process.'),
    at: time().describe('When its answer ended.'),
    method: z.string(),
    kind: z.string().describe('`manifest`, `blob`, `tags`, `referrers` or `catalog`.'),
    upstream: z.string().describe('`none` if it was for none that is configured.'),
    repository: z.string().optional(),
    reference: z.string().optional().describe('A tag or a digest.'),
    status: z.int(),
    cache: z.enum(cacheWords).describe('Where the answer came from.'),
    client: z.string().optional().describe('Its address.'),
    userAgent: z.string().optional().describe('At most 200 characters of it.'),
  })
  .meta({ id: 'Request' });

export const requests = z
  .strictObject({
    recorded: amount().describe('How many there were since the start of the process.'),
    items: z.array(request).describe('The newest first.'),
  })
  .meta({ id: 'Requests' });

export type Requests = z.output<typeof requests>;

export interface RequestsNeeds {
  readonly requests: Pick<RecentRequests, 'recorded' | 'list'>;
}

function itemOf({ atMs, cache: word, ...answered }: AnsweredRequest): z.input<typeof request> {
  const cache = cacheWords.find((one) => one === word) ?? 'none';
  return { at: isoOf(atMs), cache, ...answered };
}

export const requestsRoutes: readonly Route<RequestsNeeds>[] = [
  route({
    method: 'get',
    path: '/api/v1/requests',
    summary: 'The last 1000 requests of clients for content: whether a client pulls through the mirror.',
    pathParameters: z.strictObject({}),
    query: z.strictObject({
      reference: z.string().min(1).max(300).optional().describe('Only those for this tag or digest.'),
      limit: z.coerce.number().int().min(1).max(1_000).prefault(100).describe('At most so many.'),
    }),
    body: z.strictObject({}).optional(),
    answer: requests,
    run: async ({ query: { reference, limit } }, { requests: recent }: RequestsNeeds) => ({
      recorded: recent.recorded,
      items: recent
        .list()
        .filter((one) => reference === undefined || one.reference === reference)
        .slice(0, limit)
        .map(itemOf),
    }),
  }),
];
