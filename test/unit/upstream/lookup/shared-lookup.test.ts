import type { LookupAddress, LookupOptions } from 'node:dns';
import { expect, test } from 'vitest';
import {
  createLimitedLookup,
  createSharedLookup,
  forSockets,
  type Lookup,
} from '../../../../src/upstream/lookup/shared-lookup.ts';
import { gate } from '../../../support/gate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const four = { address: '192.0.2.1', family: 4 };
const six = { address: '2001:db8::1', family: 6 };
const rememberedForMs = 5_000;

/** A shared lookup, and what its resolver was asked. */
function shared(answer: (hostname: string) => Promise<LookupAddress[]> = async () => [four, six]) {
  const clock = new ManualClock();
  const asked: string[] = [];
  const lookup = createSharedLookup({
    clock,
    lookup: (hostname, { family, hints }) => {
      asked.push(`${hostname} ${family} ${hints}`);
      return answer(hostname);
    },
  });
  return { clock, asked, lookup };
}

test('twenty callers that want a host whose lookup hangs cause one lookup, and another host is looked up at once', async () => {
  const resolved = gate();
  const { asked, lookup } = shared(async (hostname) => {
    if (hostname === 'slow.test') await resolved.opened;
    return [four];
  });
  const waiting = Array.from({ length: 20 }, () => lookup('slow.test', {}));
  expect(await lookup('other.test', {})).toEqual([four]);
  expect(asked).toEqual(['slow.test 0 0', 'other.test 0 0']);
  resolved.open();
  expect(await Promise.all(waiting)).toEqual(waiting.map(() => [four]));
  expect(asked).toHaveLength(2);
});

test('a result is remembered for five seconds', async () => {
  const { asked, clock, lookup } = shared();
  await lookup('registry.test', {});
  clock.advance(rememberedForMs - 1);
  expect(await lookup('registry.test', {})).toEqual([four, six]);
  expect(asked).toHaveLength(1);
  clock.advance(1);
  await lookup('registry.test', {});
  expect(asked).toHaveLength(2);
});

test.each([-86_400_000, 86_400_000])(
  'a clock that is set by %d ms makes a result last neither longer nor shorter',
  async (byMs) => {
    const { asked, clock, lookup } = shared();
    await lookup('registry.test', {});
    clock.setWallClock(byMs);
    clock.advance(rememberedForMs - 1);
    await lookup('registry.test', {});
    expect(asked).toHaveLength(1);
    clock.advance(1);
    await lookup('registry.test', {});
    expect(asked).toHaveLength(2);
  },
);

test('a failure reaches all waiters, and the next caller looks up again', async () => {
  const failing = gate();
  const failure = Object.assign(new Error('try again'), { code: 'EAI_AGAIN' });
  const answers = [() => failing.opened.then(() => Promise.reject(failure)), async () => [four]];
  const { asked, lookup } = shared(() => answers.shift()?.() ?? Promise.reject(new Error('asked too often')));
  const waiting = Promise.allSettled([lookup('registry.test', {}), lookup('registry.test', {})]);
  failing.open();
  expect(await waiting).toEqual(Array(2).fill({ status: 'rejected', reason: failure }));
  expect(await lookup('registry.test', {})).toEqual([four]);
  expect(asked).toHaveLength(2);
});

test('a resolver that throws at once is asked again as well', async () => {
  const { asked, lookup } = shared(() => {
    throw new TypeError('not a host');
  });
  await expect(lookup('', {})).rejects.toThrow('not a host');
  await expect(lookup('', {})).rejects.toThrow('not a host');
  expect(asked).toHaveLength(2);
});

test('a caller that wants one address family does not get the result for another', async () => {
  const { asked, lookup } = shared();
  await Promise.all([lookup('registry.test', {}), lookup('registry.test', { family: 6, hints: 1 })]);
  expect(asked).toEqual(['registry.test 0 0', 'registry.test 6 1']);
});

/** What a socket is told: an error, or the rest of the arguments. */
function told(lookup: Lookup, options: LookupOptions): Promise<readonly unknown[]> {
  return new Promise((resolve) => forSockets(lookup)('registry.test', options, (...answer) => resolve(answer)));
}

test('a socket gets all addresses, or the first, as it asks', async () => {
  const { lookup } = shared();
  expect(await told(lookup, { all: true })).toEqual([null, [four, six]]);
  expect(await told(lookup, {})).toEqual([null, four.address, 4]);
});

test('a socket gets the reason why there are no addresses', async () => {
  const failure = new Error('no such name');
  expect((await told(() => Promise.reject(failure), { all: true }))[0]).toBe(failure);
});

test("the system's resolver is the default", async () => {
  const lookup = createSharedLookup({ clock: new ManualClock() });
  expect(await lookup('127.0.0.1', { family: 4 })).toEqual([{ address: '127.0.0.1', family: 4 }]);
});

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

test('a lookup that fails does not block the next', async () => {
  const { lookup } = limited(async (hostname) => {
    if (hostname === 'absent.test') throw new Error('ENOTFOUND');
  });
  const failing = lookup('absent.test', {});
  const next = lookup('there.test', {});
  await expect(failing).rejects.toThrow('ENOTFOUND');
  expect(await next).toEqual(found);
});

test('at most a thousand lookups wait, and the next caller is told to try again', async () => {
  const held = gate();
  const { lookup } = limited(() => held.opened);
  const waiting = Array.from({ length: 1_000 }, (_, index) => lookup(`host-${index}.test`, {}));
  await expect(lookup('next.test', {})).rejects.toMatchObject({ code: 'EAI_AGAIN' });
  held.open();
  await Promise.all(waiting);
  expect(await lookup('next.test', {})).toEqual(found);
});
