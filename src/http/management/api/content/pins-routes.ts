import { z } from 'zod';
import { type Pin, parsePin } from '../../../../mirror/administration/pins/pin-set.ts';
import type { Waiting } from '../../../../mirror/ports/waiting.ts';
import { pageQuery } from '../pages.ts';
import { type Route, route } from '../route.ts';
import { amount, time } from '../schemas.ts';

/** What the API asks of pins. */
export interface PinsAdministration {
  list(page: { readonly limit: number; readonly cursor?: string | undefined }): PinsAnswer;
  /** @throws Problem when it would keep too much, there are too many, or the disk does not take it. */
  add(pin: Pin, waiting: Waiting): Promise<PinAnswer>;
  /** @throws Problem `not-found` for what is not pinned; `refused` for what the configuration keeps. */
  remove(pin: Pin, waiting: Waiting): Promise<PinAnswer>;
}

export interface PinsNeeds {
  readonly pins: PinsAdministration;
}

export const pin = z
  .strictObject({
    pin: z.string(),
    pinnedAt: time().optional().describe('Absent for what the configuration keeps.'),
    isRemovable: z.boolean().describe('false for `storage.keep`, and for upstreams that are offline.'),
  })
  .meta({ id: 'Pin' });

export const pins = z
  .strictObject({
    items: z.array(pin),
    nextCursor: z.string().optional().describe('For the next page; absent on the last.'),
    pinnedBytes: amount().describe('Disk use of what is pinned and stored, without what the configuration keeps.'),
    isReadable: z
      .boolean()
      .describe(
        'false while the disk cannot read the pins: until it can, nothing is evicted, and no pin can be changed.',
      ),
  })
  .meta({ id: 'Pins' });

export type PinAnswer = z.output<typeof pin>;
export type PinsAnswer = z.output<typeof pins>;

const nothing = z.strictObject({});

const named = z.strictObject({
  pin: z
    .string()
    .max(600)
    .transform((text, context): Pin => {
      const found = parsePin(text);
      if (found !== undefined) return found;
      context.addIssue(
        'expected a name such as "docker.io/library/nginx", with a tag or digest, or a glob such as "docker.io/library/*"',
      );
      return z.NEVER;
    })
    .describe(
      'A repository (`docker.io/library/nginx`), a glob over repositories (`docker.io/library/*`), a tag of these (`docker.io/library/nginx:1.27`, `**:stable`), or a digest of a repository (`docker.io/library/nginx@sha256:…`).',
    ),
});

export const pinsRoutes: readonly Route<PinsNeeds>[] = [
  route({
    method: 'get',
    path: '/api/v1/pins',
    summary: 'What is never evicted: what the configuration keeps, then the pins in lexical order.',
    pathParameters: nothing,
    query: z.strictObject(pageQuery),
    body: nothing.optional(),
    answer: pins,
    run: async ({ query }, needs: PinsNeeds) => needs.pins.list(query),
  }),
  route({
    method: 'post',
    path: '/api/v1/pins',
    summary:
      'Pins a repository or an image in the store of this process: it is not evicted. 422 if that would keep too much.',
    pathParameters: nothing,
    query: nothing,
    body: named,
    answer: pin,
    run: ({ body, signal }, needs: PinsNeeds) => needs.pins.add(body.pin, { signal }),
  }),
  route({
    method: 'delete',
    path: '/api/v1/pins',
    summary: 'Removes a pin, named as it was pinned. What it kept is evicted in its turn.',
    pathParameters: nothing,
    query: named,
    body: nothing.optional(),
    answer: pin,
    run: ({ query, signal }, needs: PinsNeeds) => needs.pins.remove(query.pin, { signal }),
  }),
];
