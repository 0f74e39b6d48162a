import { join } from 'node:path';
import { type Bucket, bucketEnvironment } from '../../test/replicas/harness/bucket.ts';
import type { Contender, Site } from '../contenders/contender.ts';
import { startLayerwell } from '../contenders/layerwell.ts';
import { freePort } from '../server-process.ts';

export interface ClusterPlan {
  readonly site: Site;
  readonly upstreamUrl: string;
  readonly replicas: number;
  /** Of a Redis server. Absent: the replicas share nothing. */
  readonly redisPort?: number;
  /** Replicas with the same name share their work. */
  readonly name: string;
  readonly bucket?: Bucket | undefined;
}

/** Running replicas. Disposing them ends their processes. */
export interface Replicas extends AsyncDisposable {
  readonly all: readonly Contender[];
}

export async function startReplicas(plan: ClusterPlan): Promise<Replicas> {
  await using started = new AsyncDisposableStack();
  const all: Contender[] = [];
  for (let index = 0; index < plan.replicas; index += 1) {
    const site = { ...plan.site, folder: join(plan.site.folder, `${plan.name}-${index}`) };
    const config = await sectionsOf(plan);
    all.push(started.use(await startLayerwell(site, plan.upstreamUrl, { config, env: bucketEnvironment })));
  }
  const running = started.move();
  return { all, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

async function sectionsOf({ redisPort, name, bucket }: ClusterPlan): Promise<object> {
  const storage = bucket && { storage: { shared: bucket.directSection } };
  if (redisPort === undefined) return { ...storage };
  const port = await freePort();
  const cluster = {
    redis: { url: `redis://127.0.0.1:${redisPort}`, keyPrefix: name },
    listen: { host: '127.0.0.1', port },
    advertise: `http://127.0.0.1:${port}`,
    secret: 'the secret of the replicas of the bench',
  };
  return { ...storage, cluster };
}
