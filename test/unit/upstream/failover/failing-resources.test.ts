import { expect, test } from 'vitest';
import { UpstreamError } from '../../../../src/oci/errors.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { createRetryGuard } from '../../../../src/upstream/failover/endpoints.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { unlimited } from '../start-client.ts';

const repository = parseRepository('team/app');

function start() {
  const clock = new ManualClock();
  const guard = createRetryGuard({ clock, retry: (failure) => Promise.reject(failure) });
  let asked = 0;
  const fails = async (): Promise<never> => {
    asked += 1;
    throw new UpstreamError('unavailable', 'no', { upstreamStatus: 500 });
  };
  const ask = (resource: string) =>
    guard({ ...unlimited, repository, resource }, fails).catch((cause: unknown) => cause);
  return { clock, guard, ask, asked: () => asked };
}

test('a resource that failed twice in a row is not requested for 5 s, then for twice as long, up to a minute', async () => {
  const { clock, ask, asked } = start();
  await ask('tags');
  await ask('tags');
  for (const seconds of [5, 10, 20, 40, 60, 60]) {
    const before = asked();
    expect(await ask('tags')).toMatchObject({
      reason: 'unavailable',
      upstreamStatus: 500,
      retryAfterSeconds: seconds,
    });
    clock.advance(seconds * 1_000 - 1);
    await ask('tags');
    expect(asked()).toBe(before);
    clock.advance(1);
    await ask('tags');
    expect(asked()).toBe(before + 1);
  }
});

test('another resource of the repository is still requested, and a success resets the time', async () => {
  const { clock, guard, ask, asked } = start();
  for (const resource of ['a', 'a', 'b', 'b']) await ask(resource);
  expect(asked()).toBe(4);
  clock.advance(5_000);
  expect(await guard({ ...unlimited, repository, resource: 'a' }, async () => 'yes')).toBe('yes');
  await ask('a');
  expect(asked()).toBe(5);
  await ask('a');
  expect(asked()).toBe(6);
});

test('the rest of a transfer that has begun is still requested', async () => {
  const { guard, ask } = start();
  await ask('blob');
  await ask('blob');
  const question = { ...unlimited, repository, resource: 'blob', isResumed: true };
  expect(await guard(question, async () => 'the rest')).toBe('the rest');
});

test('at most 10,000 resources are remembered: the oldest is dropped', async () => {
  const { ask, asked } = start();
  for (const nth of Array.from({ length: 10_001 }).keys()) for (const _ of [1, 2]) await ask(String(nth));
  const before = asked();
  await ask('10000');
  expect(asked()).toBe(before);
  await ask('0');
  expect(asked()).toBe(before + 1);
});
