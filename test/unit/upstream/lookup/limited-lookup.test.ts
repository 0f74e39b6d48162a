import { expect, test } from 'vitest';
import { createLimitedLookup } from '../../../../src/upstream/lookup/limited-lookup.ts';
import type { Lookup } from '../../../../src/upstream/lookup/shared-lookup.ts';
import { gate } from '../../../support/gate.ts';

const found = [{ address: '192.0.2.1', family: 4 }];
const turns = () => new Promise((resolve) => setImmediate(resolve));

function limited(answer: (hostname: string) => Promise<void>) {
  const asked: string[] = [];
  const lookup: Lookup = async (hostname) => {
    asked.push(hostname);
    await answer(hostname);
    return found;
  };
  return { asked, lookup: createLimitedLookup(lookup) };
}

test('hosts whose lookup hangs are looked up one after another', async () => {
  const [first, second] = [gate(), gate()];
  const { asked, lookup } = limited((hostname) => (hostname === 'one.test' ? first.opened : second.opened));
  const both = ['one.test', 'two.test'].map((hostname) => lookup(hostname, {}));
  await turns();
  expect(asked).toEqual(['one.test']);
  first.open();
  expect(await both[0]).toEqual(found);
  await turns();
  expect(asked).toEqual(['one.test', 'two.test']);
  second.open();
  expect(await both[1]).toEqual(found);
});

test('a lookup that fails keeps the next from nothing', async () => {
  const { lookup } = limited(async (hostname) => {
    if (hostname === 'absent.test') throw new Error('ENOTFOUND');
  });
  const failing = lookup('absent.test', {});
  const next = lookup('there.test', {});
  await expect(failing).rejects.toThrow('ENOTFOUND');
  expect(await next).toEqual(found);
});

test('of those that wait a thousand are kept, and the next is told to try again', async () => {
  const held = gate();
  const { lookup } = limited(() => held.opened);
  const waiting = Array.from({ length: 1_000 }, (_, index) => lookup(`host-${index}.test`, {}));
  await expect(lookup('next.test', {})).rejects.toMatchObject({ code: 'EAI_AGAIN' });
  held.open();
  await Promise.all(waiting);
  expect(await lookup('next.test', {})).toEqual(found);
});
