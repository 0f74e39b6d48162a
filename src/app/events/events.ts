import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type EventDeps, eventOf, type Occurrence } from '../../events/event.ts';
import { EventStreams } from '../../events/event-streams.ts';
import type { EvictedContentDeps } from '../../events/evicted-content.ts';
import { Occurrences } from '../../events/occurrences.ts';
import { RecentEvents } from '../../events/recent-events.ts';
import type { EventsAdministration } from '../../http/management/api/events-routes.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import { type Part, partOf } from '../lifecycle.ts';

export interface EventsDeps {
  readonly clock: Pick<Clock, 'now'>;
  /** By default the machine's timers. */
  readonly wait?: EvictedContentDeps['wait'] | undefined;
}

/** What the rest of the program uses of the events. */
export interface Events extends EventsAdministration {
  /** An observer that finds what is worth telling, and passes everything on. */
  observing<Observed extends Observer>(observer: Observed): Observed;
  /** Stopped after everything that something may happen in. */
  readonly part: Part;
  /** The listeners of the management API: they end before its listener does. */
  readonly streams: Part;
}

const realWait: EvictedContentDeps['wait'] = (ms, { signal }) => sleep(ms, undefined, { signal, ref: false });

/** The events of this process. */
export function createEvents({ clock, wait = realWait }: EventsDeps): Events {
  const recent = new RecentEvents();
  const streams = new EventStreams({ recent });
  const about: EventDeps = { source: `urn:layerwell:${encodeURIComponent(hostname())}`, clock };
  const tell = (occurrence: Occurrence): void => {
    recent.add(eventOf(occurrence, about));
    streams.wake();
  };
  const occurrences = new Occurrences({ tell, wait });
  return {
    observing: (observer) => occurrences.observing(observer),
    listen: (options) => streams.listen(options),
    part: partOf('events', { stop: async () => occurrences.flush() }),
    streams: partOf('event streams', { stop: async () => streams.stop() }),
  };
}
