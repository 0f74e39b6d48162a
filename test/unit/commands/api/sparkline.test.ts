import { expect, test } from 'vitest';
import { columnsOf, sparkline } from '../../../../src/commands/api/sparkline.ts';
import { minutes as minutesSchema } from '../../../../src/http/management/api/minutes-routes.ts';

const noon = Date.UTC(2030, 0, 1, 12);

/** The hits of minutes, by how long before noon they are. */
function minutesBefore(hits: Readonly<Record<number, number>>) {
  const zeros = { revalidated: 0, stale: 0, collapsed: 0, miss: 1, negative: 0, none: 9 };
  const items = Object.entries(hits).map(([before, hit]) => ({
    at: new Date(noon - Number(before) * 60_000).toISOString(),
    requests: { ...zeros, hit },
    bytes: { served: 10 * hit, fromUpstream: 0 },
    upstreamRequests: 0,
  }));
  return minutesSchema.parse({ items: items.toReversed() });
}

test('bars go from zero to the largest value, and what is not known is a gap', () => {
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7, 8])).toBe('▁▁▂▃▄▅▆▇█');
  expect(sparkline([undefined, 5, undefined])).toBe('·█·');
  expect(sparkline([0, 0])).toBe('▁▁');
  expect(sparkline([0.5, 1], 1)).toBe('▄█');
  expect(sparkline([0.001, 1_000_000])).toBe('▁█');
  expect(sparkline([])).toBe('');
});

test('the minutes of a day are summed in columns, and minutes before it are left out', () => {
  const found = columnsOf(minutesBefore({ 0: 1, 29: 2, 30: 4, 1_439: 8, 1_440: 16 }), { endMs: noon, columns: 48 });
  expect(found).toHaveLength(48);
  expect(found.at(-1)).toEqual({ requests: 5, hits: 3, bytes: 30 });
  expect(found.at(-2)).toEqual({ requests: 5, hits: 4, bytes: 40 });
  expect(found[0]).toEqual({ requests: 9, hits: 8, bytes: 80 });
  expect(found.slice(1, -2).every((column) => column === undefined)).toBe(true);
});
