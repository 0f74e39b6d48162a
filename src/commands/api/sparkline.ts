import type { Minutes } from '../../http/management/api/minutes-routes.ts';

const bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/** What is not known. */
const gap = '·';

/** Values as bars, from zero to the largest of them; undefined is a gap. Pure. */
export function sparkline(values: readonly (number | undefined)[], most?: number): string {
  const known = values.filter((value) => value !== undefined);
  const largest = most ?? known.reduce((found, value) => Math.max(found, value), 0);
  const barOf = (value: number) => {
    if (value <= 0 || largest <= 0) return bars[0] ?? gap;
    return bars[Math.min(bars.length - 1, Math.ceil((value / largest) * bars.length) - 1)] ?? gap;
  };
  return values.map((value) => (value === undefined ? gap : barOf(value))).join('');
}

/** What is told of the minutes in one column. */
export interface Column {
  readonly requests: number;
  /** Of them, those that needed no content from an upstream. */
  readonly hits: number;
  readonly bytes: number;
}

const minuteMs = 60_000;
const minutesOfDay = 1_440;

/**
 * The 24 hours before a time, in so many columns of equal length; undefined where the mirror did not run. The number of columns divides 1440.
 * Pure.
 */
export function columnsOf(
  { items }: Minutes,
  { endMs, columns }: { readonly endMs: number; readonly columns: number },
): readonly (Column | undefined)[] {
  const minutes = minutesOfDay / columns;
  const firstMinute = Math.floor(endMs / minuteMs) - minutesOfDay + 1;
  const found: (Column | undefined)[] = Array.from({ length: columns }, () => undefined);
  for (const { at, requests, bytes } of items) {
    const place = Math.floor((Math.floor(Date.parse(at) / minuteMs) - firstMinute) / minutes);
    if (place < 0 || place >= columns) continue;
    const before = found[place] ?? { requests: 0, hits: 0, bytes: 0 };
    const { hit, revalidated, stale, collapsed, miss, negative } = requests;
    found[place] = {
      requests: before.requests + hit + revalidated + stale + collapsed + miss + negative,
      hits: before.hits + hit + revalidated + stale,
      bytes: before.bytes + bytes.served,
    };
  }
  return found;
}
