import { expect, test } from 'vitest';
import { UpstreamError } from '../../../src/oci/errors.ts';
import { bytes, failing, heldBy, scriptedCluster, storedAt } from './scripted-cluster.ts';

test('content whose holders cannot be read is downloaded from the upstream', async () => {
  const { download, asked } = scriptedCluster({ claim: () => storedAt() });
  expect((await download().read()).equals(bytes)).toBe(true);
  expect(asked).toEqual(['upstream 0']);
});

test('the lease of a replica that took all the time is taken over, so that the other replicas do not ask the upstream too', async () => {
  const { download, clock, join, uses } = scriptedCluster({
    claim: (failed) => (failed.has('a') ? 'mine' : heldBy('a')),
    at: {
      a: (start) => {
        clock.advance(12_000);
        return failing(new UpstreamError('timeout', 'did not answer in time'))(start);
      },
    },
  });
  join('a');
  expect((await download().read()).equals(bytes)).toBe(true);
  expect(uses.most).toBe(1);
});

test('a replica that is named as a holder and has nothing is no longer named, unlike one that fails', async () => {
  const { download, forgotten, join } = scriptedCluster({
    claim: (failed) => storedAt(...['a', 'b'].filter((id) => !failed.has(id))),
    at: { a: () => undefined, b: failing(new UpstreamError('connect', 'refused')) },
  });
  join('a', 'b');
  expect((await download().read()).equals(bytes)).toBe(true);
  expect(forgotten).toEqual(['a']);
});
