import type { Readable } from 'node:stream';
import { z } from 'zod';
import { Problem } from '../problems.ts';
import { type Route, route } from './route.ts';

export interface EventsAdministration {
  /**
   * The events from now on as server-sent events, or those after the one with the id `after`. The stream ends when the mirror stops, and is
   * destroyed when its reader does not keep up.
   * @returns undefined if there are too many listeners, or the mirror stops.
   */
  listen(options: { readonly after: string | undefined }): Readable | undefined;
}

const retryLater = { headers: { 'Retry-After': '5' } };

/** What the routes of events need. */
export interface EventsNeeds {
  readonly events: EventsAdministration;
}

export const eventsRoutes: readonly Route<EventsNeeds>[] = [
  route({
    method: 'get',
    path: '/api/v1/events',
    summary:
      'The events as they happen (server-sent events; `data` is a CloudEvent, see docs/events.md). A reader that comes back sends `Last-Event-ID`, and gets what it missed.',
    pathParameters: z.strictObject({}),
    query: z.strictObject({
      after: z.string().max(100).optional().describe('As the header `Last-Event-ID`, for clients that cannot set it.'),
    }),
    body: z.strictObject({}).optional(),
    contentType: 'text/event-stream',
    answer: z.string().describe('See WHATWG HTML, "Server-sent events".').meta({ id: 'EventStream' }),
    run: async ({ query, headers }, { events }: EventsNeeds) => {
      const last = headers['last-event-id'];
      const stream = events.listen({ after: typeof last === 'string' ? last : query.after });
      if (stream !== undefined) return stream;
      throw new Problem('unavailable', 'too many listeners, or the mirror stops', retryLater);
    },
  }),
];
