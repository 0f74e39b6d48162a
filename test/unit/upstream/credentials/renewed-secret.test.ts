import { expect, test } from 'vitest';
import { UpstreamError } from '../../../../src/oci/errors.ts';
import type { Secret } from '../../../../src/upstream/credentials/credentials.ts';
import { type ExpiringSecret, RenewedSecret } from '../../../../src/upstream/credentials/renewed-secret.ts';
import { gate } from '../../../support/gate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { RecordingObserver } from '../recording-observer.ts';
import { unlimited } from '../start-client.ts';

const hour = 3_600_000;

/** Secrets `s1`, `s2` … that are due after six hours and end after twelve. */
function start(fetched: (issue: () => ExpiringSecret) => Promise<ExpiringSecret> = async (issue) => issue()) {
  const clock = new ManualClock();
  const observer = new RecordingObserver();
  let fetches = 0;
  const issue = (): ExpiringSecret => ({
    secret: { kind: 'registry-token', token: `s${fetches}` },
    renewAtMs: clock.now() + 6 * hour,
    endsAtMs: clock.now() + 12 * hour,
  });
  const fetch = () => {
    fetches += 1;
    return fetched(issue);
  };
  const renewed = new RenewedSecret({
    fetch,
    timeoutMs: 15_000,
    clock,
    observer,
    registry: { label: 'one.test' },
    account: 'ecr-1',
  });
  const current = async () => tokenOf(await renewed.current(unlimited));
  return { clock, observer, renewed, current, fetches: () => fetches };
}

const tokenOf = (secret: Secret | undefined) => (secret?.kind === 'registry-token' ? secret.token : undefined);
const settled = () => new Promise(setImmediate);

test('a secret is fetched when it is first needed, once for all callers', async () => {
  const { current, fetches } = start();
  expect(fetches()).toBe(0);

  expect(await Promise.all(Array.from({ length: 10 }, current))).toEqual(Array.from({ length: 10 }, () => 's1'));

  expect(fetches()).toBe(1);
});

test('a secret that is due is renewed in the background', async () => {
  const renewal = gate();
  const { current, clock, fetches } = start(async (issue) => {
    if (fetches() > 1) await renewal.opened;
    return issue();
  });
  await current();
  clock.advance(6 * hour);

  expect(await current()).toBe('s1');
  expect(await current()).toBe('s1');
  renewal.open();
  await settled();

  expect(await current()).toBe('s2');
  expect(fetches()).toBe(2);
});

test('when it cannot be renewed, the old secret stays in use until it expires, and the failure is reported', async () => {
  const { current, clock, observer, fetches } = start(async (issue) => {
    if (fetches() > 1) throw new Error('AWS is down');
    return issue();
  });
  await current();
  clock.advance(6 * hour);

  expect(await current()).toBe('s1');
  await settled();
  expect(observer.failures).toEqual([
    { part: 'credentials', cause: expect.objectContaining({ message: 'AWS is down' }) },
  ]);
  expect(await current()).toBe('s1');
  clock.advance(6 * hour);
  await expect(current()).rejects.toThrow('AWS is down');
});

test('a source that fails is asked again after ten seconds, not for every request', async () => {
  const { current, clock, fetches } = start(async (issue) => {
    if (fetches() > 1) throw new Error('AWS is down');
    return issue();
  });
  await current();
  clock.advance(6 * hour);
  for (let request = 0; request < 5; request++) {
    await current();
    await settled();
  }
  expect(fetches()).toBe(2);

  clock.advance(10_000);
  await current();

  expect(fetches()).toBe(3);
});

test('a rejected secret is fetched again', async () => {
  const { current, renewed, clock, fetches } = start();
  const secret = await renewed.current(unlimited);
  clock.advance(hour);

  if (secret) renewed.forget(secret);

  expect(await current()).toBe('s2');
  expect(fetches()).toBe(2);
});

test('a secret that is rejected right after it was fetched is kept: fetching again would not help', async () => {
  const { current, renewed, fetches } = start();
  const secret = await renewed.current(unlimited);

  if (secret) renewed.forget(secret);

  expect(await current()).toBe('s1');
  expect(fetches()).toBe(1);
});

test('the rejection of a former secret does not affect the current one', async () => {
  const { current, renewed, clock } = start();
  await current();
  clock.advance(hour);

  renewed.forget({ kind: 'registry-token', token: 's0' });

  expect(await current()).toBe('s1');
});

test('a caller that stops waiting does not end the fetch of the others', async () => {
  const arrival = gate();
  const { renewed, current, fetches } = start(async (issue) => {
    await arrival.opened;
    return issue();
  });
  const leaving = new AbortController();
  const left = renewed.current(leaving);
  const stayed = current();

  leaving.abort(new Error('the client left'));
  await expect(left).rejects.toThrow('the client left');
  arrival.open();

  expect(await stayed).toBe('s1');
  expect(fetches()).toBe(1);
});

test('a failed first fetch is not remembered', async () => {
  const { current, fetches } = start(async (issue) => {
    if (fetches() === 1) throw new Error('AWS is down');
    return issue();
  });

  await expect(current()).rejects.toThrow('AWS is down');

  expect(await current()).toBe('s2');
});

test('a source that rejects a request gets one in ten seconds, however many callers need its secret', async () => {
  const refused = new UpstreamError('refused', 'no credentials from AWS');
  const { current, clock, fetches } = start(async (issue) => {
    if (fetches() <= 2) throw refused;
    return issue();
  });
  const tries = async (count: number) => {
    for (let nth = 0; nth < count; nth++) await expect(current()).rejects.toBe(refused);
  };

  await tries(10);
  expect(fetches()).toBe(1);
  clock.advance(10_000);
  await tries(10);
  expect(fetches()).toBe(2);
  clock.advance(10_000);

  expect(await current()).toBe('s3');
});

test.each([-24 * hour, 24 * hour])(
  'a clock that is set by %d ms renews a secret neither later nor sooner',
  async (byMs) => {
    const { current, clock, fetches } = start();
    await current();
    clock.setWallClock(byMs);
    clock.advance(6 * hour - 1);
    expect(await current()).toBe('s1');
    expect(fetches()).toBe(1);
    clock.advance(6 * hour + 1);
    expect(await current()).toBe('s2');
  },
);

test('the end of each fetched secret is reported, with its account', async () => {
  const { clock, observer, current } = start();
  await current();
  expect(observer.secretsFetched).toEqual([
    { upstream: 'one.test', account: 'ecr-1', endsAtMs: clock.now() + 12 * hour },
  ]);
});
