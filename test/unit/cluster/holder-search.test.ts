import { expect, test } from 'vitest';
import { bytes, scriptedCluster, storedAt } from './scripted-cluster.ts';

test('content whose holders cannot be read is downloaded from the upstream', async () => {
  const { download, asked } = scriptedCluster({ claim: () => storedAt() });
  expect((await download().read()).equals(bytes)).toBe(true);
  expect(asked).toEqual(['upstream 0']);
});
