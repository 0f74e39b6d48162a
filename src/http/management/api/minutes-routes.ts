import { z } from 'zod';
import { type Route, route } from './route.ts';
import { amount, cacheWords, time } from './schemas.ts';

export const minute = z
  .strictObject({
    at: time().describe('When the minute begins.'),
    requests: z
      .record(z.enum(cacheWords), amount())
      .describe('Answers to clients by where they came from; `none`: not about content, such as a ping.'),
    bytes: z.strictObject({
      served: amount().describe('Bytes of content sent to clients, counted when an answer ends.'),
      fromUpstream: amount().describe('Bytes of content received from upstreams.'),
    }),
    upstreamRequests: amount().describe('Requests to upstreams, including pings and those for tokens.'),
  })
  .meta({ id: 'Minute' });

export const minutes = z
  .strictObject({
    items: z
      .array(minute)
      .describe(
        'In order, at most 1440. The last is not over yet. Minutes in which the mirror did not run are missing.',
      ),
  })
  .meta({ id: 'Minutes' });

export type Minutes = z.output<typeof minutes>;

export interface MinutesAdministration {
  /** The statistics by minute, of the last 24 hours at most. */
  list(asked: { readonly fromMs: number | undefined }): Minutes;
}

export interface MinutesNeeds {
  readonly minutes: MinutesAdministration;
}

export const minutesRoutes: readonly Route<MinutesNeeds>[] = [
  route({
    method: 'get',
    path: '/api/v1/stats/minutes',
    summary: 'What the mirror has served in each minute of the last 24 hours, also before its last restart.',
    pathParameters: z.strictObject({}),
    query: z.strictObject({
      from: z.iso
        .datetime()
        .optional()
        .describe('Only from the minute of this time on, such as `2026-01-31T12:00:00Z`.'),
    }),
    body: z.strictObject({}).optional(),
    answer: minutes,
    run: async ({ query: { from } }, { minutes: history }: MinutesNeeds) =>
      history.list({ fromMs: from === undefined ? undefined : Date.parse(from) }),
  }),
];
