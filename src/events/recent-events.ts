import type { Event } from './event.ts';

/** How many events are kept for listeners that come back, and how many characters of them. */
export const maxRecentEvents = 1_000;
export const maxRecentCharacters = 1024 * 1024;

/** The last events, in memory, numbered from 1. */
export class RecentEvents {
  readonly #events: Event[] = [];
  #characters = 0;
  /** The number of the first that is kept. */
  #first = 1;

  /** The number of the next event. */
  get next(): number {
    return this.#first + this.#events.length;
  }

  get first(): number {
    return this.#first;
  }

  add(event: Event): void {
    this.#events.push(event);
    this.#characters += event.json.length;
    while (this.#events.length > maxRecentEvents || this.#characters > maxRecentCharacters) {
      this.#characters -= this.#events.shift()?.json.length ?? 0;
      this.#first += 1;
    }
  }

  /** @returns undefined for an event that is not kept any more, or did not happen yet. */
  at(number: number): Event | undefined {
    return this.#events[number - this.#first];
  }

  /** The number of the event after the one with this id; undefined if that one is not kept. */
  after(id: string): number | undefined {
    const place = this.#events.findLastIndex((event) => event.id === id);
    return place === -1 ? undefined : this.#first + place + 1;
  }
}
