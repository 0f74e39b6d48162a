import { expect, test } from 'vitest';
import { UpstreamError } from '../../../../../src/oci/errors.ts';
import { parseRepository } from '../../../../../src/oci/reference.ts';
import { anonymous, type Credentials } from '../../../../../src/upstream/credentials/credentials.ts';
import { Refusals } from '../../../../../src/upstream/credentials/protocol/refusals.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

const repository = parseRepository('team/app');
const robot: Credentials = { ...anonymous, account: 'basic-1' };
const other: Credentials = { ...anonymous, account: 'basic-2' };
const secret = (password: string) => ({ kind: 'basic', username: 'robot', password }) as const;
const answered = (upstreamStatus: number) => new UpstreamError('refused', 'it was refused', { upstreamStatus });

function start() {
  const clock = new ManualClock();
  const refusals = new Refusals(clock);
  const sent = (what: string, password = 'wrong', credentials = robot) => ({
    credentials,
    repository,
    what,
    secret: secret(password),
  });
  return {
    clock,
    refusals,
    sent,
    maySend: (...args: Parameters<typeof sent>) => !refusals.of(sent(...args)),
  };
}

test('a rejected secret is not sent again for a minute, for any repository', () => {
  const { refusals, sent, maySend, clock } = start();
  refusals.record(sent('a'), answered(401));

  expect([maySend('a'), maySend('b')]).toEqual([false, false]);
  clock.advance(59_999);
  expect(refusals.of(sent('a'))).toMatchObject({ reason: 'refused', upstreamStatus: 401 });
  expect(refusals.of(sent('a'))?.message).toBe('it was refused; the same secret is not sent again for 1 s');
  clock.advance(1);
  expect([maySend('a'), maySend('b')]).toEqual([true, true]);
});

test('a changed secret is sent at once, and so is that of another account', () => {
  const { refusals, sent, maySend } = start();
  refusals.record(sent('a'), answered(401));

  expect(maySend('a', 'right')).toBe(true);
  expect(maySend('a', 'wrong', other)).toBe(true);
});

test.each([401, 403])('a good secret that may not read one repository (%i) is still sent for others', (status) => {
  const { refusals, sent, maySend } = start();
  refusals.accepted(sent('a'));
  refusals.record(sent('b'), answered(status));

  expect([maySend('a'), maySend('b'), maySend('c')]).toEqual([true, false, true]);
});

test('a secret that gets 403 before its first success may still read other repositories', () => {
  const { refusals, sent, maySend } = start();
  refusals.record(sent('b'), answered(403));

  expect([maySend('a'), maySend('b')]).toEqual([true, false]);
});

test('a secret that stops working counts as rejected', () => {
  const { refusals, sent, maySend } = start();
  refusals.accepted(sent('a'));
  refusals.record(sent('a'), answered(401));

  expect([maySend('a'), maySend('b')]).toEqual([false, false]);
});

test('where each repository has a secret of its own, one rejected secret does not affect the others', () => {
  const { refusals, sent } = start();
  const perRepository = { ...robot, isPerRepository: true };
  refusals.record(sent('a', 'wrong', perRepository), answered(401));
  const elsewhere = { ...sent('b', 'wrong', perRepository), repository: parseRepository('other/app') };

  expect(refusals.of(elsewhere)).toBeUndefined();
  expect(refusals.of(sent('b', 'wrong', perRepository))).toBeDefined();
});

test.each([-3_600_000, 3_600_000])(
  'a clock that is set by %d ms makes a rejection last neither longer nor shorter',
  (byMs) => {
    const { refusals, sent, maySend, clock } = start();
    refusals.record(sent('a'), answered(401));
    clock.setWallClock(byMs);
    clock.advance(59_999);
    expect(maySend('a')).toBe(false);
    clock.advance(1);
    expect(maySend('a')).toBe(true);
  },
);
