import type { EventsObserver } from '../../mirror/ports/observer.ts';
import type { Event } from '../event.ts';
import type { EventLog } from './event-log.ts';

export interface EventQueueDeps {
  readonly log: Pick<EventLog, 'append' | 'segmentBytes'>;
  readonly observer: Pick<EventsObserver, 'eventsDropped' | 'eventQueueFailed'>;
  /** Called when events were written. */
  readonly onWritten: () => void;
  /** Called when the disk takes events again after some were lost. */
  readonly onLost: (loss: { readonly reason: Loss; readonly count: number }) => void;
}

/** Why events are not in the log: the disk failed, or more of them came than it takes. */
export type Loss = 'disk' | 'backlog';

/** Events that wait for the disk. */
export const maxWaitingEvents = 10_000;
const maxWaitingCharacters = 4 * 1024 * 1024;

/** Writes events to the log, in the background and in order. Whoever pushes never waits. */
export class EventQueue {
  readonly #deps: EventQueueDeps;
  #waiting: string[] = [];
  #characters = 0;
  #writing: Promise<void> | undefined;
  readonly #lost = new Map<Loss, number>();

  constructor(deps: EventQueueDeps) {
    this.#deps = deps;
  }

  push({ json }: Event): void {
    if (this.#waiting.length >= maxWaitingEvents || this.#characters + json.length > maxWaitingCharacters) {
      this.#lose('backlog', 1);
      return;
    }
    this.#waiting.push(json);
    this.#characters += json.length;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
    });
  }

  /** Resolves when everything is written, or could not be. */
  async flushed(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  async #writeAll(): Promise<void> {
    await Promise.resolve(); // What is pushed in the same turn is written together.
    for (let batch = this.#takeBatch(); batch.length > 0; batch = this.#takeBatch()) await this.#write(batch);
  }

  async #write(batch: readonly string[]): Promise<void> {
    const { log, observer, onWritten } = this.#deps;
    try {
      await log.append(batch);
    } catch (cause) {
      observer.eventQueueFailed({ cause });
      this.#lose('disk', batch.length);
      return;
    }
    onWritten();
    this.#tellOfLosses();
  }

  /** At least one event if there is any, and no more than a file of the log takes. */
  #takeBatch(): readonly string[] {
    let bytes = 0;
    let count = 0;
    for (const json of this.#waiting) {
      bytes += Buffer.byteLength(json) + lineOverhead;
      if (count > 0 && bytes > this.#deps.log.segmentBytes) break;
      count += 1;
    }
    const batch = this.#waiting.splice(0, count);
    for (const json of batch) this.#characters -= json.length;
    return batch;
  }

  #lose(reason: Loss, count: number): void {
    this.#deps.observer.eventsDropped({ reason, count });
    this.#lost.set(reason, (this.#lost.get(reason) ?? 0) + count);
  }

  #tellOfLosses(): void {
    const losses = [...this.#lost];
    this.#lost.clear();
    for (const [reason, count] of losses) this.#deps.onLost({ reason, count });
  }
}

/** The checksum, a space and a line break. */
const lineOverhead = 10;
