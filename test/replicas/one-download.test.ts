import { expect, test } from 'vitest';
import { thisTest } from '../support/owner.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import { describeWithTools } from '../support/tools.ts';
import { pullTogether } from './harness/together.ts';

/** `npm run replicas` does the same with 256 MiB. */
const herd = { mebibytes: 8, clients: 60 };

describeWithTools(redisTools, 'sixty clients pull an image by tag that none of three replicas has', () => {
  test('the upstream is asked once for the tag, the manifest and the layer, and all start at once', async () => {
    const redis = await startRedis();
    const seen = await pullTogether({ ...herd, interruption: 'none', redisPort: redis.port, owner: thisTest });
    expect(seen).toMatchObject({ failures: [], rightDigests: herd.clients });
    expect(seen).toMatchObject({ tagRequests: 1, layerGets: 1, rangedGets: 0 });
    expect(seen.manifestGets).toBe(1);
    // On a machine that is busy with other tests everything is late: `npm run replicas` has the bound of 100 ms.
    expect(seen.firstByteBehindMs).toBeLessThanOrEqual(Math.max(2_000, 10 * seen.directFirstByteMs));
  });

  test.each(['SIGKILL', 'SIGSTOP', 'SIGSTOP, then SIGCONT'] as const)(
    'the replica that downloads gets %s in the middle: another one goes on, and no client waits for long',
    async (interruption) => {
      const redis = await startRedis();
      const seen = await pullTogether({ ...herd, interruption, redisPort: redis.port, owner: thisTest });
      expect(seen).toMatchObject({ failures: [], rightDigests: herd.clients });
      expect(seen.layerGets).toBeLessThanOrEqual(2);
      expect(seen.rangedGets).toBe(seen.layerGets - 1);
      // `npm run replicas` has the bound of 6 s.
      expect(seen.longestPauseMs).toBeLessThanOrEqual(15_000);
    },
  );
});
