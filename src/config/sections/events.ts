import { z } from 'zod';
import { bytes, chosenSecret, path, requiredSecret, shortName, text, word } from './values.ts';

/** The types of the events that the mirror tells of. What each says is in events/event.ts. */
export const eventTypes = [
  'io.layerwell.image.stored',
  'io.layerwell.tag.moved',
  'io.layerwell.content.evicted',
  'io.layerwell.content.quarantined',
  'io.layerwell.upstream.down',
  'io.layerwell.upstream.up',
  'io.layerwell.upstream.rate_limit_low',
  'io.layerwell.events.dropped',
] as const;

export type EventType = (typeof eventTypes)[number];

const maxWebhooks = 16;
const leastQueueBytes = 1024 * 1024;
const mostQueueBytes = 1024 ** 3;

/** `http` or `https`, without user, password and fragment. */
function webhookUrl() {
  return z
    .string()
    .refine(isWebhookUrl, 'expected a URL such as "https://hooks.example.com/layerwell", without user and password')
    .meta({ title: 'URL' });
}

function isWebhookUrl(value: string): boolean {
  const url = URL.parse(value);
  const isHttp = url?.protocol === 'https:' || url?.protocol === 'http:';
  return isHttp && url.username === '' && url.password === '' && url.hash === '';
}

const webhook = z
  .strictObject({
    name: shortName().describe('Its name in logs and metrics, and in the queue: a hook with a new name starts anew.'),
    url: webhookUrl().describe('Each event is sent there with POST. Redirects are not followed.'),
    secret: text()
      .describe(
        'The secret that events are signed with (Standard Webhooks): `whsec_` and 24 to 64 random bytes in base64.',
      )
      .optional(),
    secretFile: path()
      .describe('A file with the secret, instead of `secret`; read for each event, so it can change at any time.')
      .optional(),
    previousSecret: text()
      .describe('A former secret that events are signed with too, while the receiver changes to the new one.')
      .optional(),
    previousSecretFile: path().describe('A file with it, instead of `previousSecret`.').optional(),
    types: z
      .array(word(eventTypes))
      .min(1, 'expected at least one type')
      .describe('Only events of these types. Default: all.')
      .optional(),
    tls: z
      .strictObject({
        caFile: path().describe("CA certificates to trust in addition to the system's (PEM).").optional(),
      })
      .describe('TLS towards the receiver.')
      .prefault({}),
  })
  .transform(({ secret, secretFile, previousSecret, previousSecretFile, ...rest }, context) => ({
    ...rest,
    secret: requiredSecret({ key: 'secret', text: secret, file: secretFile }, context),
    previousSecret: chosenSecret({ key: 'previousSecret', text: previousSecret, file: previousSecretFile }, context),
  }));

export const events = z
  .strictObject({
    source: text()
      .refine((value) => URL.canParse(value, 'urn:layerwell:') && !/\s/.test(value), 'expected a URI')
      .describe('The `source` of every event: a URI. Default: `urn:layerwell:` and the name of the host.')
      .optional(),
    queueSize: bytes()
      .refine((size) => size >= leastQueueBytes && size <= mostQueueBytes, 'expected "1MiB" to "1GiB"')
      .describe(
        'Disk space in `storage.path` for events that a webhook has not taken yet, as a part of `storage.maxSize`. Beyond it, the oldest are dropped.',
      )
      .prefault('16MiB'),
    webhooks: z
      .array(webhook)
      .max(maxWebhooks, `expected at most ${maxWebhooks}`)
      .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'expected a different name for each')
      .describe('Who is told of events: see `docs/events.md`.')
      .prefault([]),
  })
  .transform(({ queueSize, ...rest }) => ({ ...rest, queueBytes: queueSize }))
  .describe('What happens in the mirror, told to webhooks.');
