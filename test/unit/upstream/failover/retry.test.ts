import { expect, test } from 'vitest';
import { OciError, UpstreamError } from '../../../../src/oci/errors.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { networkFailure } from '../../../../src/upstream/transport/network-errors.ts';
import { createRetry, pauseBeforeRetry } from '../../../../src/upstream/failover/retry.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { image } from '../../../support/images.ts';
import { clientOf, unlimited } from '../start-client.ts';

const [repository, latest] = [parseRepository('team/app'), parseTag('latest')];
const failed = (code: string) => networkFailure('registry.test', Object.assign(new Error(code), { code }));
const answered = (upstreamStatus: number, retryAfterSeconds?: number) =>
  new UpstreamError('unavailable', 'no', { upstreamStatus, retryAfterSeconds });

test.each([
  { what: 'no server listens', cause: failed('ECONNREFUSED'), registry: [100, 200], mirror: [] },
  { what: 'a kept connection is closed', cause: failed('ECONNRESET'), registry: [100, 200], mirror: [100] },
  { what: 'it answers 503', cause: answered(503), registry: [100, 200], mirror: [] },
  { what: 'it wants a second', cause: answered(503, 1), registry: [1_000, 1_000], mirror: [] },
  { what: 'it wants two seconds', cause: answered(503, 2), registry: [], mirror: [] },
  { what: 'it knows no such method', cause: answered(501), registry: [], mirror: [] },
  { what: 'it answered in no time', cause: failed('UND_ERR_HEADERS_TIMEOUT'), registry: [], mirror: [] },
  { what: 'its name is unknown', cause: failed('ENOTFOUND'), registry: [], mirror: [] },
  { what: 'it is not trusted', cause: failed('CERT_HAS_EXPIRED'), registry: [], mirror: [] },
  { what: 'it is overloaded', cause: new UpstreamError('overloaded', 'no'), registry: [], mirror: [] },
  { what: 'the mirror is', cause: new UpstreamError('busy', 'no'), registry: [], mirror: [] },
  { what: 'it refuses', cause: new UpstreamError('refused', 'no'), registry: [], mirror: [] },
  { what: 'it has no such thing', cause: new OciError('MANIFEST_UNKNOWN', 'no'), registry: [], mirror: [] },
  { what: 'of a bug', cause: new TypeError('no'), registry: [], mirror: [] },
])(
  'when $what, a registry is asked again after $registry ms, and a mirror after $mirror ms',
  ({ cause, ...expected }) => {
    for (const role of ['registry', 'mirror'] as const) {
      const pauses = [0, 1, 2].map((retries) => pauseBeforeRetry(cause, { role, retries, random: 0.5 }));
      expect(pauses.filter((pause) => pause !== undefined)).toEqual(expected[role]);
    }
  },
);

test('the pauses are randomised, and add up to less than half a second', () => {
  const sumFor = (random: number) =>
    [0, 1, 2]
      .map((retries) => pauseBeforeRetry(failed('ECONNREFUSED'), { role: 'registry', retries, random }) ?? 0)
      .reduce((one, other) => one + other);
  expect([sumFor(0), sumFor(0.5), sumFor(1)]).toEqual([150, 300, 450]);
});

test('a registry that recovers between two tries is asked again', async () => {
  const registry = await startFakeRegistry();
  registry.content.add(repository, latest, image());
  await registry.stop();
  const { client, pausesMs } = clientOf(registry.url, {}, { beforeRetry: () => registry.start() });
  await client.headManifest(repository, latest, unlimited);
  expect(pausesMs).toEqual([100]);
  expect(registry.count()).toBe(1);
});

test('a caller that leaves during a pause ends the wait, and causes no request', async () => {
  const leaving = new AbortController();
  const reason = new Error('left');
  let asked = 0;
  const wait = async () => {
    leaving.abort(reason);
    throw new DOMException('The operation was aborted', 'AbortError');
  };
  const retry = createRetry('registry', { random: () => 0, wait });
  const asking = retry(answered(503), { signal: leaving.signal }, async () => {
    asked += 1;
    throw answered(503);
  });
  await expect(asking).rejects.toBe(reason);
  expect(asked).toBe(0);
});
