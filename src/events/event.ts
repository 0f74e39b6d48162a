import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { EventType } from '../config/sections/events.ts';
import type { Clock } from '../mirror/ports/clock.ts';

const repository = () => z.string().describe('`<upstream>/<repository>`, such as `docker.io/library/nginx`.');
const digest = () => z.string().regex(/^[a-z0-9]+:[0-9a-f]+$/);
const amount = () => z.int().min(0);
const upstream = () => z.string().describe('Its key in the configuration.');
const endpoint = () => z.enum(['registry', 'mirror']).describe('The registry itself, or one of its `mirrors`.');
const mediaType = () => z.string().describe('Of the manifest.');
const size = () => amount().describe('Length of the manifest.');

/** What an event of each type says: the schema of its `data`. */
export const dataSchemas = {
  'io.layerwell.image.stored': z
    .strictObject({ repository: repository(), digest: digest(), mediaType: mediaType(), size: size() })
    .describe(
      'A manifest was stored in a repository that did not have it: the image was pulled for the first time, or again after it was evicted. An image for several platforms has an index and a manifest for each platform that was pulled.',
    ),
  'io.layerwell.tag.moved': z
    .strictObject({
      repository: repository(),
      tag: z.string(),
      from: digest().describe('What it pointed at before.'),
      to: digest().describe('What it points at now.'),
      mediaType: mediaType(),
      size: size(),
    })
    .describe('The upstream says that a cached tag points at another digest than before.'),
  'io.layerwell.content.evicted': z
    .strictObject({
      reason: z.enum(['lru', 'unused', 'purge']).describe('No space; not pulled for `storage.unusedFor`; asked for.'),
      manifests: amount(),
      blobs: amount(),
      bytes: amount().describe('Length of the manifests and blobs.'),
      images: z.array(z.string()).describe('`<upstream>/<repository>@<digest>` of the manifests.'),
      tags: z.array(z.string()).describe('`<upstream>/<repository>:<tag>` of the tags that went with them.'),
      isComplete: z.boolean().describe('Whether all images and tags are listed; a long list is cut.'),
    })
    .describe('Content left the store. What leaves within ten seconds for the same reason is one event.'),
  'io.layerwell.content.quarantined': z
    .strictObject({
      digest: digest(),
      source: z.enum(['read', 'scrub']).describe('What found it: a read for a client, or the scrubber.'),
    })
    .describe('A stored file did not match its digest, and is no longer served.'),
  'io.layerwell.upstream.down': z
    .strictObject({ upstream: upstream(), endpoint: endpoint() })
    .describe(
      'An endpoint of an upstream fails, and is not asked for a while: its circuit opened. Of a pattern such as `*.pkg.dev`: one of its registries.',
    ),
  'io.layerwell.upstream.up': z
    .strictObject({ upstream: upstream(), endpoint: endpoint() })
    .describe('It answers again: its circuit closed.'),
  'io.layerwell.upstream.rate_limit_low': z
    .strictObject({
      upstream: upstream(),
      account: z.string().describe('`anonymous`, or the kind and number of the account, such as `basic-1`.'),
      limit: amount(),
      remaining: amount(),
      windowSeconds: amount().optional(),
    })
    .describe('Less than a tenth of the pulls that an account may do is left. Told again after a fifth was left.'),
  'io.layerwell.events.dropped': z
    .strictObject({
      reason: z
        .enum(['queue_full', 'disk', 'backlog'])
        .describe(
          '`queue_full`: the oldest, for a webhook that has not taken them; `disk`: the queue could not be written or read; `backlog`: more happened than the disk took.',
        ),
      count: amount(),
      webhook: z.string().optional().describe('The name of the webhook that does not get them; absent: all.'),
    })
    .describe('Events are missing.'),
} as const satisfies Record<EventType, z.ZodObject>;

/** Something that happened, before it has an id and a time. */
export type Occurrence = {
  [Type in EventType]: {
    readonly type: Type;
    /** What it is about. Events of the same subject are sent in order. */
    readonly subject: string;
    readonly data: z.output<(typeof dataSchemas)[Type]>;
  };
}[EventType];

/** An event as it is sent: CloudEvents 1.0 in structured mode, as JSON. */
export interface Event {
  readonly id: string;
  readonly type: EventType;
  readonly timeMs: number;
  readonly json: string;
}

export interface EventDeps {
  /** Which mirror tells of it: a URI. */
  readonly source: string;
  readonly clock: Pick<Clock, 'now'>;
}

/** Every context attribute of an event is one of these. */
export const envelope = z.strictObject({
  specversion: z.literal('1.0'),
  id: z.uuid(),
  source: z.string().min(1),
  type: z.string().min(1),
  subject: z.string().min(1),
  time: z.iso.datetime(),
  datacontenttype: z.literal('application/json'),
  data: z.unknown(),
});

/** Gives an occurrence its id and time. */
export function eventOf({ type, subject, data }: Occurrence, { source, clock }: EventDeps): Event {
  const [id, timeMs] = [randomUUID(), clock.now()];
  const time = new Date(timeMs).toISOString();
  const whole = {
    specversion: '1.0',
    id,
    source,
    type,
    subject,
    time,
    datacontenttype: 'application/json',
    data,
  } satisfies z.input<typeof envelope>;
  return { id, type, timeMs, json: JSON.stringify(whole) };
}
