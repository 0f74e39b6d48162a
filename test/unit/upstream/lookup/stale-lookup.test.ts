import { expect, test } from 'vitest';
import type { Lookup } from '../../../../src/upstream/lookup/shared-lookup.ts';
import { createStaleLookup } from '../../../../src/upstream/lookup/stale-lookup.ts';
import { gate } from '../../../support/gate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const [before, after] = [[{ address: '192.0.2.1', family: 4 }], [{ address: '192.0.2.2', family: 4 }]];
const failing = (code: string) => Promise.reject(Object.assign(new Error(code), { code }));

/** A lookup that gives these answers one after another. */
function answering(...answers: readonly (() => ReturnType<Lookup>)[]) {
  const clock = new ManualClock();
  const left = answers.values();
  const lookup = createStaleLookup({ clock, lookup: async () => (left.next().value ?? hang)(), waitMs: 1 });
  return { clock, lookup: () => lookup('registry.test', {}) };
}

const hang = () => gate().opened.then(() => before);

test('a registry whose name was looked up before is reached while lookups hang', async () => {
  const { lookup } = answering(
    async () => before,
    hang,
    async () => after,
  );
  expect(await lookup()).toBe(before);
  expect(await lookup()).toBe(before);
  expect(await lookup()).toBe(after);
});

test('addresses that arrive late are used the next time', async () => {
  const late = gate();
  const { lookup } = answering(
    async () => before,
    () => late.opened.then(() => after),
    hang,
  );
  await lookup();
  expect(await lookup()).toBe(before);
  late.open();
  await new Promise(setImmediate);
  expect(await lookup()).toBe(after);
});

test('a failing resolver does not remove a host from the cache, a host that no longer exists is removed', async () => {
  const { lookup } = answering(
    async () => before,
    () => failing('EAI_AGAIN'),
    () => failing('ENOTFOUND'),
  );
  await lookup();
  expect(await lookup()).toBe(before);
  await expect(lookup()).rejects.toMatchObject({ code: 'ENOTFOUND' });
});

test('former addresses are used for a day, and none of a host that was never found', async () => {
  const { lookup, clock } = answering(
    () => failing('EAI_AGAIN'),
    async () => before,
    () => failing('EAI_AGAIN'),
  );
  await expect(lookup()).rejects.toMatchObject({ code: 'EAI_AGAIN' });
  await lookup();
  clock.advance(86_400_001);
  await expect(lookup()).rejects.toMatchObject({ code: 'EAI_AGAIN' });
});
