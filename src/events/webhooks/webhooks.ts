import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { EventsObserver } from '../../mirror/ports/observer.ts';
import type { FileSystem } from '../../storage/filesystem/file-system.ts';
import type { Event, Occurrence } from '../event.ts';
import { EventLog, type EventLogDeps } from '../queue/event-log.ts';
import { EventQueue } from '../queue/event-queue.ts';
import { isBefore, type LoggedEvent, type Position } from '../queue/log-lines.ts';
import { Positions, type PositionsDeps } from './positions.ts';
import type { Sender } from './sender.ts';
import { Webhook, type WebhookDeps } from './webhook.ts';

export interface WebhookSettings extends Pick<WebhookDeps, 'name' | 'types'> {
  /** Called once, at the start. @throws Error when a file that it needs cannot be read. */
  readonly createSender: () => Promise<Pick<Sender, 'send' | 'close'>>;
}

export interface WebhooksDeps extends Pick<WebhookDeps, 'random' | 'wait'> {
  readonly webhooks: readonly WebhookSettings[];
  readonly folder: string;
  readonly maxBytes: number;
  readonly files: FileSystem;
  readonly hold: EventLogDeps['hold'];
  readonly positionsFile: PositionsDeps['file'];
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly observer: EventsObserver;
  /** Tells of events that are missing. */
  readonly tell: (occurrence: Occurrence) => void;
}

/** One queue on the disk for all webhooks: each is at a position of its own, so that one that is down delays no other. */
export class Webhooks {
  readonly #deps: WebhooksDeps;
  readonly #log: EventLog;
  readonly #queue: EventQueue;
  readonly #positions: Positions;
  readonly #running = new AbortController();
  #webhooks: readonly Webhook[] = [];
  #senders: readonly Pick<Sender, 'close'>[] = [];
  #work: readonly Promise<void>[] = [];
  #written = Promise.withResolvers<void>();

  constructor(deps: WebhooksDeps) {
    const { folder, maxBytes, files, hold, positionsFile, observer, tell } = deps;
    this.#deps = deps;
    this.#log = new EventLog({
      folder,
      maxBytes,
      files,
      hold,
      onDropped: (events) => this.#dropped(events),
      onDamaged: (damage) => observer.eventQueueDamaged(damage),
    });
    this.#queue = new EventQueue({
      log: this.#log,
      observer,
      onWritten: () => {
        this.#wake();
        this.#release();
      },
      onLost: (data) => tell({ type: 'io.layerwell.events.dropped', subject: 'events', data }),
    });
    this.#positions = new Positions({
      file: positionsFile,
      now: () => new Map(this.#webhooks.map(({ name, position }) => [name, position])),
      onFailed: (cause) => observer.eventQueueFailed({ cause }),
    });
  }

  /** Begins to send what earlier processes have left. @throws Error when a file of a webhook cannot be read. */
  async start(): Promise<void> {
    const { webhooks, observer } = this.#deps;
    await this.#log.open().catch((cause: unknown) => observer.eventQueueFailed({ cause }));
    const known = await this.#positions.load();
    const senders = await Promise.all(webhooks.map(({ createSender }) => createSender()));
    this.#senders = senders;
    this.#webhooks = senders.map((sender, place) => this.#webhook(place, sender, known));
    this.#positions.save();
    const { signal } = this.#running;
    this.#work = this.#webhooks.map((webhook) =>
      webhook.run(signal).catch((cause: unknown) => {
        if (!signal.aborted) observer.eventQueueFailed({ cause });
      }),
    );
  }

  push(event: Event): void {
    this.#queue.push(event);
  }

  /** Writes what waits, and drops the requests that run: their events are sent by the next process. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#running.abort(new Error('the mirror stops'));
    await Promise.all([...this.#work, ...this.#senders.map((sender) => sender.close())]);
    await abortable(this.#queue.flushed(), signal).catch(() => {}); // Late events are lost.
    await this.#positions.flush();
    await this.#log.close();
  }

  /** On the disk. */
  get queueBytes(): number {
    return this.#log.bytes;
  }

  /** When the event happened that each webhook gets next; undefined if it has all. */
  oldest(): readonly { readonly webhook: string; readonly oldestAtMs: number | undefined }[] {
    return this.#webhooks.map(({ name, oldestAtMs }) => ({ webhook: name, oldestAtMs }));
  }

  #webhook(place: number, sender: WebhookDeps['sender'], known: ReadonlyMap<string, Position> | undefined): Webhook {
    const { webhooks, clock, observer, random, wait } = this.#deps;
    const { name = '', types } = webhooks[place] ?? {};
    const deps = {
      name,
      types,
      sender,
      clock,
      observer,
      random,
      wait,
      log: this.#log,
      written: () => this.#written.promise,
      onMoved: () => this.#moved(),
    };
    observer.webhookChanged({ webhook: name, state: 'known' });
    return new Webhook(deps, this.#beginningOf(name, known));
  }

  /** Without any positions everything is sent again, rather than nothing. A webhook that is new gets what happens from now on. */
  #beginningOf(name: string, known: ReadonlyMap<string, Position> | undefined): Position {
    const { first, end } = this.#log;
    if (known === undefined) return first;
    const position = known.get(name) ?? end;
    return isBefore(end, position) || isBefore(position, first) ? first : position;
  }

  #wake(): void {
    const { resolve } = this.#written;
    this.#written = Promise.withResolvers();
    resolve();
  }

  #moved(): void {
    this.#positions.save();
    this.#release();
  }

  /** Removes what all webhooks have. */
  #release(): void {
    const [slowest] = this.#webhooks.map(({ position }) => position).toSorted((a, b) => (isBefore(a, b) ? -1 : 1));
    if (slowest === undefined || slowest.segment <= this.#log.first.segment) return;
    this.#log.release(slowest).catch((cause: unknown) => this.#deps.observer.eventQueueFailed({ cause }));
  }

  /** The queue is full: some webhooks do not get its oldest events. */
  #dropped(events: readonly LoggedEvent[]): void {
    const { observer, tell } = this.#deps;
    for (const webhook of this.#webhooks) {
      const count = events.filter((event) => webhook.lacks(event)).length;
      if (count === 0) continue;
      observer.eventsDropped({ reason: 'queue_full', count, webhook: webhook.name });
      const data = { reason: 'queue_full', count, webhook: webhook.name } as const;
      tell({ type: 'io.layerwell.events.dropped', subject: 'events', data });
    }
  }
}
