import type { CacheWord } from '../mirror/ports/cache-status.ts';

/** What is counted for each minute: requests by where their answers came from, bytes, and requests to upstreams. */
export const minuteCounts = [
  'hit',
  'revalidated',
  'stale',
  'collapsed',
  'miss',
  'negative',
  'none',
  'servedBytes',
  'upstreamBytes',
  'upstreamRequests',
] as const;

export type Counts = Readonly<Record<CacheWord | 'servedBytes' | 'upstreamBytes' | 'upstreamRequests', number>>;

/** Counts of one minute of the wall clock. */
export interface Minute {
  /** When it begins. */
  readonly atMs: number;
  readonly counts: Counts;
}

/** Every count, as a function of its name. Pure. */
export function countsFrom(valueOf: (name: keyof Counts) => number): Counts {
  return {
    hit: valueOf('hit'),
    revalidated: valueOf('revalidated'),
    stale: valueOf('stale'),
    collapsed: valueOf('collapsed'),
    miss: valueOf('miss'),
    negative: valueOf('negative'),
    none: valueOf('none'),
    servedBytes: valueOf('servedBytes'),
    upstreamBytes: valueOf('upstreamBytes'),
    upstreamRequests: valueOf('upstreamRequests'),
  };
}

const minuteMs = 60_000;
/** 24 hours. */
export const mostMinutes = 1_440;

/**
 * Counts by minute of the last 24 hours, in an array of fixed size. Minutes in which nothing was recorded, not even zeros, are missing.
 *
 * The wall clock may jump. Forward: minutes are missing. Back: minutes that come again replace what was recorded for them.
 */
export class Minutes {
  readonly #numbers = new Float64Array(mostMinutes * minuteCounts.length);
  /** The minute that each slot holds, in minutes since the epoch. */
  readonly #minuteAt = new Float64Array(mostMinutes).fill(-1);
  /** The minute that is being counted. */
  #current = -1;

  /** Adds to the minute of `nowMs`. */
  add(nowMs: number, counts: Counts): void {
    const minute = this.#minuteOf(nowMs);
    if (minute !== this.#current || this.#minuteAt[slotOf(minute)] !== minute) this.#begin(minute);
    for (const [place, name] of minuteCounts.entries()) {
      const at = slotOf(minute) * minuteCounts.length + place;
      this.#numbers[at] = (this.#numbers[at] ?? 0) + counts[name];
    }
  }

  /** The minutes from the one of `fromMs` to the one of `nowMs`, at most 1440, in order. */
  list(fromMs: number, nowMs: number): readonly Minute[] {
    const last = this.#minuteOf(nowMs);
    const listed: Minute[] = [];
    for (let minute = Math.max(Math.floor(fromMs / minuteMs), last - mostMinutes + 1); minute <= last; minute += 1) {
      if (this.#minuteAt[slotOf(minute)] !== minute) continue;
      listed.push({ atMs: minute * minuteMs, counts: this.#countsIn(slotOf(minute)) });
    }
    return listed;
  }

  /** As text for a file. A minute is `[minutes since the epoch, …counts]`, without the zeros at its end. */
  text(nowMs: number): string {
    const minutes = this.list(0, nowMs).map(({ atMs, counts }) => {
      const numbers = minuteCounts.map((name) => counts[name]);
      return [atMs / minuteMs, ...numbers.slice(0, numbers.findLastIndex((number) => number !== 0) + 1)];
    });
    return JSON.stringify({ format, minutes });
  }

  /** Takes in what {@link text} wrote, in place of everything. @returns false, and changes nothing, for any other value. */
  restore(value: unknown): boolean {
    const minutes = minutesIn(value);
    if (!minutes) return false;
    for (const [minute = 0, ...numbers] of minutes) {
      this.#begin(minute);
      this.#numbers.set(numbers, slotOf(minute) * minuteCounts.length);
    }
    return true;
  }

  #begin(minute: number): void {
    const first = slotOf(minute) * minuteCounts.length;
    this.#numbers.fill(0, first, first + minuteCounts.length);
    this.#minuteAt[slotOf(minute)] = minute;
    this.#current = minute;
  }

  #countsIn(slot: number): Counts {
    return countsFrom((name) => this.#numbers[slot * minuteCounts.length + minuteCounts.indexOf(name)] ?? 0);
  }

  /** A clock that is corrected by less than a minute does not go back to the minute before. */
  #minuteOf(nowMs: number): number {
    const minute = Math.floor(nowMs / minuteMs);
    return minute === this.#current - 1 ? this.#current : minute;
  }
}

/** The names of the counts are part of it: a version that counts other things begins anew. */
const format = `1 ${minuteCounts.join(' ')}`;

function slotOf(minute: number): number {
  return ((minute % mostMinutes) + mostMinutes) % mostMinutes;
}

function minutesIn(value: unknown): readonly (readonly number[])[] | undefined {
  if (typeof value !== 'object' || value === null || !('format' in value) || !('minutes' in value)) return undefined;
  if (value.format !== format || !Array.isArray(value.minutes) || value.minutes.length > mostMinutes) return undefined;
  const minutes: unknown[] = value.minutes;
  return minutes.every(isMinute) ? minutes.toSorted(([one = 0], [other = 0]) => one - other) : undefined;
}

function isMinute(value: unknown): value is readonly number[] {
  return (
    Array.isArray(value) &&
    value.length >= 1 &&
    value.length <= minuteCounts.length + 1 &&
    value.every((number) => Number.isSafeInteger(number) && number >= 0)
  );
}
