import { Siblings } from '../../src/cluster/siblings.ts';
import type { Sibling } from '../../src/cluster/sibling-client.ts';
import { MemoryBudget } from '../../src/mirror/concurrency/memory-budget.ts';
import type { RepositoryId } from '../../src/mirror/ports/repository-id.ts';
import { parseRepository } from '../../src/oci/reference.ts';
import { RecordingObserver } from '../unit/upstream/recording-observer.ts';
import { type Replaced, type RunningApp, startApp } from './start-app.ts';
import type { MirrorConfig } from './start-mirror.ts';
import { clusterOf, clusterSecret } from './start-replicas.ts';
import { thisTest } from './owner.ts';

/** A replica whose Redis does not answer, and how a sibling of it reads there. */
export interface Replica {
  readonly app: RunningApp;
  readonly sibling: Sibling;
  /** Where siblings ask. */
  readonly url: string;
  /** Starts it again, with other settings. */
  restart(config: MirrorConfig): Promise<void>;
}

export async function startReplica(config: MirrorConfig, replaced: Replaced = {}): Promise<Replica> {
  const cluster = await clusterOf({ url: 'redis://127.0.0.1:1' });
  const app = await startApp({ ...config, cluster }, replaced);
  const url = String(cluster['advertise']);
  const memory = new MemoryBudget({ maxBytes: 64 * 1024 * 1024 });
  const observer = new RecordingObserver();
  const siblings = new Siblings({ trust: { secret: clusterSecret }, clock: app.clock, observer, memory });
  thisTest(() => siblings.close());
  siblings.follow([url]);
  const sibling = siblings.at(url);
  if (!sibling) throw new Error(`${url} is no sibling`);
  return { app, sibling, url, restart: (next) => app.restart({ ...next, cluster }) };
}

/** A repository of docker.io. */
export function hubRepository(name: string): RepositoryId {
  return { upstream: 'docker.io', repository: parseRepository(name) };
}
