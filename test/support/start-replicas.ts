import { freePort } from './free-port.ts';
import { type Owner, thisTest } from './owner.ts';
import { type Replaced, type RunningApp, startApp } from './start-app.ts';
import type { MirrorConfig } from './start-mirror.ts';

export const clusterSecret = 'a secret of the replicas in a test, long enough';

/** What makes an app a replica beside others. */
export async function clusterOf(redis: { readonly url: string }, more: MirrorConfig = {}): Promise<MirrorConfig> {
  const port = await freePort();
  const advertise = `http://127.0.0.1:${port}`;
  return {
    redis: { url: redis.url },
    listen: { host: '127.0.0.1', port },
    advertise,
    secret: clusterSecret,
    ...more,
  };
}

/** Starts replicas in this process, one after the other, each with a store of its own. */
export async function startReplicas(
  count: number,
  config: MirrorConfig,
  {
    redis,
    owner = thisTest,
    ...replaced
  }: Replaced & { readonly redis: { readonly url: string }; readonly owner?: Owner },
): Promise<readonly RunningApp[]> {
  const apps: RunningApp[] = [];
  for (let at = 0; at < count; at += 1)
    apps.push(await startApp({ ...config, cluster: await clusterOf(redis) }, { owner, ...replaced }));
  return apps;
}
