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
  const shown = (what: string, password = 'wrong', credentials = robot) => ({
    credentials,
    repository,
    what,
    secret: secret(password),
  });
  return {
    clock,
    refusals,
    shown,
    isShown: (...repositoryId: Parameters<typeof shown>) => !refusals.of(shown(...repositoryId)),
  };
}

test('a rejected secret is not sent again for a minute, for any repository', () => {
  const { refusals, shown, isShown, clock } = start();
  refusals.note(shown('a'), answered(401));

  expect([isShown('a'), isShown('b')]).toEqual([false, false]);
  clock.advance(59_999);
  expect(refusals.of(shown('a'))).toMatchObject({ reason: 'refused', upstreamStatus: 401 });
  expect(refusals.of(shown('a'))?.message).toBe('it was refused; the same secret is not sent again for 1 s');
  clock.advance(1);
  expect([isShown('a'), isShown('b')]).toEqual([true, true]);
});

test('a changed secret is sent at once, and so is that of another account', () => {
  const { refusals, shown, isShown } = start();
  refusals.note(shown('a'), answered(401));

  expect(isShown('a', 'right')).toBe(true);
  expect(isShown('a', 'wrong', other)).toBe(true);
});

test.each([401, 403])('a good secret that may not read one repository (%i) is still sent for others', (status) => {
  const { refusals, shown, isShown } = start();
  refusals.accepted(shown('a'));
  refusals.note(shown('b'), answered(status));

  expect([isShown('a'), isShown('b'), isShown('c')]).toEqual([true, false, true]);
});

test('a secret that gets 403 before its first success may still read other repositories', () => {
  const { refusals, shown, isShown } = start();
  refusals.note(shown('b'), answered(403));

  expect([isShown('a'), isShown('b')]).toEqual([true, false]);
});

test('a secret that stops working counts as rejected', () => {
  const { refusals, shown, isShown } = start();
  refusals.accepted(shown('a'));
  refusals.note(shown('a'), answered(401));

  expect([isShown('a'), isShown('b')]).toEqual([false, false]);
});

test('where each repository has a secret of its own, one rejected secret does not affect the others', () => {
  const { refusals, shown } = start();
  const perRepository = { ...robot, isPerRepository: true };
  refusals.note(shown('a', 'wrong', perRepository), answered(401));
  const elsewhere = { ...shown('b', 'wrong', perRepository), repository: parseRepository('other/app') };

  expect(refusals.of(elsewhere)).toBeUndefined();
  expect(refusals.of(shown('b', 'wrong', perRepository))).toBeDefined();
});

test.each([-3_600_000, 3_600_000])(
  'a clock that is set by %d ms makes a rejection last neither longer nor shorter',
  (byMs) => {
    const { refusals, shown, isShown, clock } = start();
    refusals.note(shown('a'), answered(401));
    clock.setWallClock(byMs);
    clock.advance(59_999);
    expect(isShown('a')).toBe(false);
    clock.advance(1);
    expect(isShown('a')).toBe(true);
  },
);
