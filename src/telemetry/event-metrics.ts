import type { EventsObserver } from '../mirror/ports/observer.ts';
import type { Maker } from './instruments.ts';
import type { Log } from './log.ts';

const losses = ['queue_full', 'disk', 'backlog'];
const results = ['delivered', 'failed', 'given_up', 'gone'];

/** Counts and logs what is told of, and how webhooks take it. */
export function createEventMetrics(make: Maker, logger: Log['logger']): EventsObserver {
  const { told, dropped, deliveries } = eventInstruments(make);
  for (const reason of losses) dropped.inc({ reason }, 0);
  return {
    eventTold: ({ type }) => told.inc({ type }),
    eventsDropped: ({ reason, count, webhook }) => {
      dropped.inc({ reason }, count);
      logger.warn({ reason, count, webhook }, 'events were dropped');
    },
    eventQueueDamaged: ({ segment, lines, cause }) =>
      logger.warn({ segment, lines, err: cause }, 'a part of the queue of events cannot be read, and is skipped'),
    eventQueueFailed: ({ cause }) => logger.warn({ err: cause }, 'the queue of events cannot be used'),
    webhookAnswered: ({ webhook, result }) => deliveries.inc({ webhook, result }),
    webhookChanged: ({ webhook, state, reason }) => {
      if (state === 'known') for (const result of results) deliveries.inc({ webhook, result }, 0);
      if (state === 'up') logger.info({ webhook }, 'the webhook takes events again');
      if (state === 'failing')
        logger.warn({ webhook, reason }, 'the webhook does not take an event: it is tried again');
      if (state === 'stopped')
        logger.warn({ webhook, reason }, 'the webhook wants no events (410): it gets none until the next start');
    },
  };
}

function eventInstruments(make: Maker) {
  return {
    told: make.counter('events_total', 'Events that were told of, by type.', ['type']),
    dropped: make.counter(
      'events_dropped_total',
      'Events that webhooks do not get, by reason: `queue_full`, for a webhook that has not taken them (counted for each); `disk`, the queue could not be written; `backlog`, more happened than the disk took.',
      ['reason'],
    ),
    deliveries: make.counter(
      'webhook_deliveries_total',
      'Tries to deliver an event to a webhook, by result; `failed`: it is tried again; `given_up`: the webhook refused this event for a day; `gone`: it wants no more (410).',
      ['webhook', 'result'],
    ),
  };
}
