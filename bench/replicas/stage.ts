import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Bucket, startBucket } from '../../test/replicas/harness/bucket.ts';
import type { Owner } from '../../test/support/owner.ts';
import { startRedis } from '../../test/support/redis.ts';
import { findTool } from '../../test/support/tools.ts';
import { type Readers, startReaders } from '../clients/readers.ts';
import type { Site } from '../contenders/contender.ts';
import { startUpstream, type Upstream } from '../contenders/distribution.ts';
import type { SetUp } from '../set-up.ts';
import { type ClusterPlan, type Replicas, startReplicas } from './cluster.ts';

/** Everything the measurements of replicas need. */
export interface ReplicasStage extends AsyncDisposable {
  readonly readers: Readers;
  readonly upstream: Upstream;
  readonly wrk: string;
  readonly redisPort: number;
  /** Undefined if versitygw is not installed. */
  readonly bucket: Bucket | undefined;
  readonly runs: number;
  readonly signal: AbortSignal;
  /** New replicas with empty stores. Those of a cluster know each other. */
  start(plan: Pick<ClusterPlan, 'name' | 'replicas' | 'redisPort' | 'bucket'>): Promise<Replicas>;
}

/** Replicas tell each other that they are there every three seconds. */
const meetWithinMs = 4_000;

export async function setUpReplicas(setUp: SetUp): Promise<ReplicasStage> {
  const { tools, program, folder, searchPath, runs, signal } = setUp;
  await using servers = new AsyncDisposableStack();
  const owner: Owner = (cleanUp) => servers.defer(cleanUp);
  const site = (name: string): Site => ({ tools, program, folder: join(folder, name), searchPath, signal });
  const readers = servers.use(startReaders());
  const upstream = servers.use(await startUpstream(site('upstream')));
  const redis = await startRedis({ owner });
  const bucket = findTool('versitygw') === undefined ? undefined : await startBucket(owner);
  const running = servers.move();
  return {
    readers,
    upstream,
    wrk: tools.wrk,
    redisPort: redis.port,
    bucket,
    runs,
    signal,
    start: async (plan) => {
      const replicas = await startReplicas({ ...plan, site: site('replicas'), upstreamUrl: upstream.url });
      if (plan.redisPort !== undefined) await delay(meetWithinMs, undefined, { signal });
      return replicas;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
