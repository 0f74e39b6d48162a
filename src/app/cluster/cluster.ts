import { AnyCache } from '../../cluster/any-cache.ts';
import { Leases } from '../../cluster/leases.ts';
import { Membership, newReplicaId } from '../../cluster/membership.ts';
import { RedisConnection } from '../../cluster/redis/connection.ts';
import { clusterKeys } from '../../cluster/replica-scripts.ts';
import { ClusterWork, type SharedBucket } from '../../cluster/shared-work.ts';
import { Siblings } from '../../cluster/siblings.ts';
import type { BucketCountDeps } from '../../cluster/bucket/bucket-count.ts';
import { type HeldSweep, holdSweep } from '../../cluster/bucket/sweep-lease.ts';
import { TagHints } from '../../cluster/tag-hints.ts';
import type { Config } from '../../config/schema.ts';
import type { Listener } from '../../http/server/listener.ts';
import { SecretCheck } from '../../http/siblings/secret-check.ts';
import { MemoryShare, type MemoryBudget } from '../../mirror/concurrency/memory-budget.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import type { MirrorParts } from '../../mirror/mirror-parts.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { OtherCache } from '../../mirror/ports/other-caches.ts';
import type { Tracing } from '../../mirror/ports/tracing.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { WatchedSecrets } from './cluster-secrets.ts';
import { type Part, partOf } from '../lifecycle.ts';
import { redisSettingsOf } from './redis-settings.ts';
import { siblingListener } from './sibling-listener.ts';

export interface ClusterDeps {
  /** The id of this replica. By default a new one. */
  readonly replicaId: string | undefined;
  readonly clock: Clock;
  readonly observer: Metrics;
  readonly memory: MemoryBudget;
  readonly log: Log;
  readonly tracing?: Tracing | undefined;
  /** The bucket of `storage.shared`, if there is one. */
  readonly bucket: (SharedBucket & { readonly cache: OtherCache }) | undefined;
}

/** What readyz tells of the cluster. None of it makes the replica unready. */
export interface ClusterState {
  readonly replica: string;
  /** How many are known, this one included. */
  readonly replicas: number;
  /** The addresses of replicas that refuse the secret of this one. */
  readonly secretRefusedBy: readonly string[];
}

/** What a replica shares with the others. */
export interface Cluster {
  /** Parts of the mirror. */
  readonly work: Partial<Pick<MirrorParts, 'shared' | 'caches'>>;
  /** The connections to Redis and to the siblings: started before the mirror, and stopped after it. */
  readonly connections: Part;
  /** Lets siblings read: started before the replica is announced. */
  listener(mirror: Mirror): Part & Partial<Pick<Listener, 'certificateEndsAtMs'>>;
  /**
   * Announces the replica: started last. Stopped first: its hints are withdrawn, then no other replica begins to read here. Those that read
   * already continue until the listener stops.
   */
  readonly membership: Part;
  /** Whether this replica is the one that maintains what all share: the first of those that are known. */
  isFirst(): boolean;
  /** Takes the lease for a sweep of the bucket; undefined when another replica holds it. Absent without a cluster: no lease is needed. */
  holdSweep?(): Promise<HeldSweep | undefined>;
  /** Where replicas count what they upload to the bucket; undefined without a cluster. */
  readonly bucketCount: BucketCountDeps['shared'];
  /** For readyz; undefined without a cluster. */
  state(): ClusterState | undefined;
  /** The connection, for readyz; undefined without a cluster. */
  readonly redis: { readonly cluster: Pick<RedisConnection, 'state'> } | undefined;
}

/** Where the section `cluster` is missing. */
const noCluster: Cluster = {
  work: {},
  connections: partOf('cluster connections', {}),
  listener: () => partOf('sibling listener', {}),
  membership: partOf('cluster membership', {}),
  isFirst: () => true,
  bucketCount: undefined,
  state: () => undefined,
  redis: undefined,
};

/** The most of the memory budget that what arrives from siblings takes. */
const siblingMemoryShare = 1 / 4;

/** Builds what the section `cluster` asks for: nothing without it. */
export function createCluster({ cluster: config, clients }: Config, deps: ClusterDeps): Cluster {
  if (!config) return noCluster;
  const { clock, observer, log, tracing, bucket, replicaId = newReplicaId(config.replicaName) } = deps;
  const self = { id: replicaId, address: new URL(config.advertise).origin };
  const redis = new RedisConnection({ name: 'cluster', settings: redisSettingsOf(config.redis), clock, observer });
  const keys = clusterKeys(config.redis.keyPrefix);
  const membership = new Membership({ self, redis, keys, observer });
  const hints = { membership, redis, keys, clock, observer };
  const [leases, tagHints] = [new Leases(hints), new TagHints(hints)];
  const memory = new MemoryShare(deps.memory, siblingMemoryShare);
  const siblings = new Siblings({ trust: { secret: '' }, selfId: replicaId, clock, observer, memory, tracing });
  const caches = new AnyCache({ membership, siblings, bucket: bucket?.cache });
  const secrets = new SecretCheck({ secret: '' });
  const watched = new WatchedSecrets(config, {
    apply: (now) => {
      secrets.follow(now);
      siblings.rely(now);
    },
    onFailure: (cause) => observer.internalError({ part: 'cluster secret', cause }),
  });
  const work = new ClusterWork({ leases, membership, siblings, tagHints, anyCache: caches, bucket, clock });
  redis.onChange(({ state }) => {
    if (state === 'up') work.forgetNames();
  });
  membership.onChange((others) => siblings.follow(others.map(({ address }) => address)));
  let listener: Listener | undefined;
  return {
    work: { shared: work, caches },
    connections: partOf('cluster connections', {
      start: async () => {
        await watched.start();
        await redis.start();
        log.logger.info(self, 'replica');
      },
      stop: async (options) => {
        watched.stop();
        await siblings.close();
        await redis.stop(options);
      },
    }),
    listener: (mirror) => {
      listener = siblingListener(config, { ...deps, mirror, secrets, replicaId, clients });
      return listener;
    },
    membership: partOf('cluster membership', {
      start: () => membership.start(),
      stop: async (options) => {
        tagHints.stop();
        await membership.leave(options);
        listener?.stopAccepting();
        await leases.stop(options);
      },
    }),
    isFirst: () => membership.isFirst,
    holdSweep: () => holdSweep({ redis, keys, replicaId }),
    bucketCount: { redis, keys },
    state: () => stateOf(membership, siblings),
    redis: { cluster: redis },
  };
}

function stateOf({ self, others }: Membership, { refusedBy }: Siblings): ClusterState {
  return { replica: self.id, replicas: others.length + 1, secretRefusedBy: refusedBy };
}
