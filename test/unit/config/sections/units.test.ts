import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseDuration, parseSize } from '../../../../src/config/sections/units.ts';

test.each([
  ['90s', 90_000],
  ['5m', 300_000],
  ['1h30m', 5_400_000],
  ['30d', 30 * 86_400_000],
  ['1d2h3m4s5ms', 93_784_005],
  ['250ms', 250],
  ['0s', 0],
  ['0', 0],
])('the duration %s is %i ms', (text, expectedMs) => {
  expect(parseDuration(text)).toBe(expectedMs);
});

test.each(['', '5', '5 m', '-5m', '1.5h', '30m1h', '5M', 'm', '5min', 'forever', '99999999999999d', '5m\n'])(
  '%j is rejected as a duration',
  (text) => {
    expect(parseDuration(text)).toBeUndefined();
  },
);

test.each([
  ['50GiB', 50 * 1024 ** 3],
  ['500MB', 500_000_000],
  ['1kB', 1000],
  ['1KiB', 1024],
  ['2TiB', 2 * 1024 ** 4],
  ['0B', 0],
  ['0', 0],
])('the size %s is %i bytes', (text, expectedBytes) => {
  expect(parseSize(text)).toBe(expectedBytes);
});

test.each(['', '50', '50G', '50Gi', '50 GiB', '-1GiB', '1.5GiB', '50gib', '99999999999TiB', '1GiB2MiB'])(
  '%j is rejected as a size',
  (text) => {
    expect(parseSize(text)).toBeUndefined();
  },
);

test('the parts of a duration are added up', () => {
  const part = fc.nat({ max: 10_000 });
  fc.assert(
    fc.property(part, part, part, (hours, minutes, seconds) => {
      expect(parseDuration(`${hours}h${minutes}m${seconds}s`)).toBe(
        hours * 3_600_000 + minutes * 60_000 + seconds * 1000,
      );
    }),
  );
});
