import { Readable } from 'node:stream';
import type { Event } from './event.ts';
import type { RecentEvents } from './recent-events.ts';

export const maxListeners = 32;
/** An idle stream says that it lives; one that takes nothing for so many of these intervals is ended. */
const heartbeatMs = 15_000;
const maxMissedHeartbeats = 4;
/** How long a stream may take to end when the mirror stops. */
const endsWithinMs = 1_000;

export interface EventStreamsDeps {
  readonly recent: RecentEvents;
  readonly heartbeatMs?: number | undefined;
}

/** Streams the events as server-sent events (WHATWG HTML §9.2) to a bounded number of listeners. */
export class EventStreams {
  readonly #deps: EventStreamsDeps;
  readonly #listeners = new Set<EventStream>();
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(deps: EventStreamsDeps) {
    this.#deps = deps;
  }

  get count(): number {
    return this.#listeners.size;
  }

  /**
   * A stream of the events from now on, or after the one with the id `after`; if that one is not kept any more, of all that are.
   * @returns undefined if there are too many, or the mirror stops.
   */
  listen({ after }: { readonly after: string | undefined }): Readable | undefined {
    if (this.#isStopped || this.#listeners.size >= maxListeners) return undefined;
    const { recent } = this.#deps;
    const next = after === undefined ? recent.next : (recent.after(after) ?? recent.first);
    const stream = new EventStream(recent, next);
    this.#listeners.add(stream);
    stream.once('close', () => this.#left(stream));
    this.#timer ??= setInterval(() => this.#beat(), this.#deps.heartbeatMs ?? heartbeatMs).unref();
    return stream;
  }

  /** To be called when there is a new event. */
  wake(): void {
    for (const stream of this.#listeners) stream.wake();
  }

  /** Ends all streams, and takes no further listeners. */
  stop(): void {
    this.#isStopped = true;
    for (const stream of this.#listeners) stream.end();
  }

  #left(stream: EventStream): void {
    this.#listeners.delete(stream);
    if (this.#listeners.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #beat(): void {
    for (const stream of this.#listeners) stream.beat();
  }
}

/** Takes events from those that are kept when its reader has room, so that a slow reader costs no memory. */
class EventStream extends Readable {
  readonly #recent: RecentEvents;
  #next: number;
  #hasRoom = false;
  #missedHeartbeats = 0;

  constructor(recent: RecentEvents, next: number) {
    super({ highWaterMark: 16 * 1024 });
    this.#recent = recent;
    this.#next = next;
    this.push('retry: 3000\n\n');
  }

  override _read(): void {
    this.#hasRoom = true;
    this.#missedHeartbeats = 0;
    this.wake();
  }

  wake(): void {
    if (this.#next < this.#recent.first) this.destroy(); // It did not keep up.
    if (this.destroyed) return;
    let event = this.#recent.at(this.#next);
    while (this.#hasRoom && event !== undefined) {
      this.#next += 1;
      this.#hasRoom = this.push(frameOf(event));
      event = this.#recent.at(this.#next);
    }
  }

  beat(): void {
    this.#missedHeartbeats += 1;
    if (this.#hasRoom) this.#hasRoom = this.push(': alive\n\n');
    else if (this.#missedHeartbeats > maxMissedHeartbeats) this.destroy();
    if (this.#hasRoom) this.#missedHeartbeats = 0;
  }

  end(): void {
    if (this.destroyed) return;
    this.push(null);
    const late = setTimeout(() => this.destroy(), endsWithinMs).unref();
    this.once('close', () => clearTimeout(late));
  }
}

/** Pure. */
function frameOf({ id, type, json }: Event): string {
  return `id: ${id}\nevent: ${type}\ndata: ${json}\n\n`;
}
