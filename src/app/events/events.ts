import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readSecret, readText } from '../../config/loading/files.ts';
import type { Config } from '../../config/schema.ts';
import { type EventDeps, eventOf, type Occurrence } from '../../events/event.ts';
import { EventStreams } from '../../events/event-streams.ts';
import type { EvictedContentDeps } from '../../events/evicted-content.ts';
import { Occurrences } from '../../events/occurrences.ts';
import { RecentEvents } from '../../events/recent-events.ts';
import { Sender } from '../../events/webhooks/sender.ts';
import { Webhooks, type WebhooksDeps, type WebhookSettings } from '../../events/webhooks/webhooks.ts';
import type { EventsAdministration } from '../../http/management/api/events-routes.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { EventsObserver, Observer } from '../../mirror/ports/observer.ts';
import { DurableFolders } from '../../storage/filesystem/durable-folders.ts';
import type { FileSystem } from '../../storage/filesystem/file-system.ts';
import { StateFile } from '../../storage/filesystem/state-file.ts';
import { eventsFolder } from '../../storage/layout.ts';
import type { EventReadings } from '../../telemetry/readouts.ts';
import { type Part, partOf } from '../lifecycle.ts';

export interface EventsDeps {
  readonly version: string;
  readonly clock: Clock;
  readonly files: FileSystem;
  /** Resolves when this process may write to the store. @throws when it may not. Called only after the start. */
  readonly hold: () => Promise<void>;
  readonly observer: EventsObserver & Pick<Observer, 'internalError'>;
  /** By default the machine's timers. */
  readonly wait?: EvictedContentDeps['wait'] | undefined;
}

/** What the rest of the program uses of the events. */
export interface Events extends EventsAdministration, EventReadings {
  /** An observer that finds what is worth telling, and passes everything on. */
  observing<Observed extends Observer>(observer: Observed): Observed;
  /** Stopped after everything that something may happen in. */
  readonly part: Part;
  /** The listeners of the management API: they end before its listener does. */
  readonly streams: Part;
}

const realWait: EvictedContentDeps['wait'] = (ms, { signal }) => sleep(ms, undefined, { signal, ref: false });

/** The events of this process: kept in memory for listeners, and on the disk for webhooks where some are configured. */
export function createEvents(config: Config, { wait = realWait, ...deps }: EventsDeps): Events {
  const { clock, observer } = deps;
  const recent = new RecentEvents();
  const streams = new EventStreams({ recent });
  const about: EventDeps = { source: config.events.source ?? `urn:layerwell:${encodeURIComponent(hostname())}`, clock };
  const tell = (occurrence: Occurrence): void => {
    const event = eventOf(occurrence, about);
    observer.eventTold(event);
    recent.add(event);
    streams.wake();
    webhooks?.push(event);
  };
  const webhooks = createWebhooks(config, { ...deps, wait, tell });
  const occurrences = new Occurrences({ tell, wait });
  return {
    observing: (inner) => occurrences.observing(inner),
    listen: (options) => streams.listen(options),
    eventListeners: () => streams.count,
    eventQueueBytes: () => webhooks?.queueBytes ?? 0,
    webhooks: () => webhooks?.oldest() ?? [],
    part: partOf('events', {
      start: async () => webhooks?.start(),
      stop: async ({ signal }) => {
        occurrences.flush();
        await webhooks?.stop(signal);
      },
    }),
    streams: partOf('event streams', { stop: async () => streams.stop() }),
  };
}

type WebhookParts = Omit<EventsDeps, 'wait'> & Pick<WebhooksDeps, 'tell' | 'wait'>;

/** Undefined if none is configured. */
function createWebhooks({ events, storage }: Config, deps: WebhookParts): Webhooks | undefined {
  if (events.webhooks.length === 0) return undefined;
  const { files, observer, hold } = deps;
  const { path } = storage;
  const positionsFile = new StateFile({
    path,
    name: `${eventsFolder}/positions.json`,
    maxBytes: 64 * 1024,
    files,
    observer,
    folders: new DurableFolders({ files }),
    failpoint: undefined,
    hold,
  });
  return new Webhooks({
    ...deps,
    webhooks: webhookSettings(events, deps),
    folder: join(path, eventsFolder),
    maxBytes: events.queueBytes,
    positionsFile,
    random: Math.random,
  });
}

/** The webhooks of a configuration. Their secrets are read for each event, their CA certificates at the start. */
function webhookSettings(
  { webhooks, proxy }: Config['events'],
  { version, clock }: Pick<EventsDeps, 'version' | 'clock'>,
): readonly WebhookSettings[] {
  const common = { proxy, clock, userAgent: `layerwell/${version}` };
  return webhooks.map((webhook) => ({
    name: webhook.name,
    types: webhook.types && new Set<string>(webhook.types),
    createSender: async () =>
      new Sender({
        ...common,
        url: new URL(webhook.url),
        ca: webhook.tls.caFile === undefined ? undefined : await readText(webhook.tls.caFile),
        readSecrets: () => secretsOf(webhook),
      }),
  }));
}

/** The current one, then a former one if it differs. @throws Error that names the file of one that cannot be read. */
async function secretsOf({ secret, previousSecret }: Config['events']['webhooks'][number]): Promise<readonly string[]> {
  const all = previousSecret === undefined ? [secret] : [secret, previousSecret];
  return [...new Set(await Promise.all(all.map(readSecret)))];
}
