import { expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { Distrust } from '../../../../src/upstream/failover/distrust.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const hour = 3_600_000;
const named = (name: string) => digestOf(Buffer.from(name));
const one = named('one');

function start() {
  const clock = new ManualClock();
  const distrust = new Distrust({ clock });
  const wrong = (name: string) => {
    distrust.sends(named(name));
    return distrust.wasWrong(named(name));
  };
  return { clock, distrust, wrong };
}

test('a digest that an endpoint sent wrong is not requested from it for an hour, and others are', () => {
  const { clock, distrust, wrong } = start();
  expect(wrong('one')).toBe(true);
  expect([distrust.has(one), distrust.has(named('other'))]).toEqual([true, false]);
  clock.advance(hour);
  expect(distrust.has(one)).toBe(false);
});

test('a digest that an endpoint never sent does not count as wrong', () => {
  const { distrust } = start();
  expect(distrust.wasWrong(one)).toBe(false);
  expect(distrust.has(one)).toBe(false);
});

test('an endpoint that sends three digests wrong gets no request for ten minutes', () => {
  const { clock, distrust, wrong } = start();
  for (const name of ['a', 'b', 'c']) wrong(name);
  expect(distrust.has(one)).toBe(true);
  clock.advance(600_000);
  expect(distrust.has(one)).toBe(false);
});

test('a correct manifest in between resets the count', () => {
  const { distrust, wrong } = start();
  for (const name of ['a', 'b', 'c']) {
    wrong(name);
    distrust.wasRight();
  }
  expect(distrust.has(one)).toBe(false);
});

test('at most 10,000 digests are remembered: the oldest is dropped', () => {
  const { distrust } = start();
  const all = Array.from({ length: 10_001 }, (_, nth) => named(String(nth)));
  for (const digest of all) distrust.avoid(digest);
  expect(all.filter((digest) => distrust.has(digest))).toHaveLength(10_000);
});
