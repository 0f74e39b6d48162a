/** What the test gives to `helm --values`. */
export type Values = Readonly<Record<string, unknown>>;

/** A way to run the chart. */
export interface Shape {
  readonly name: string;
  readonly replicas: number;
  readonly workload: 'statefulset' | 'deployment';
  readonly values: Values;
}

/** Servers that the pods can reach, from the environment. */
export interface Servers {
  readonly redis: string | undefined;
  readonly bucket: { readonly endpoint: string; readonly name: string } | undefined;
}

const small = { maxSize: '1GiB', minFree: '100MiB' };
const clusterSecret = 'layerwell-cluster';
const bucketSecret = 'bucket';
export const secrets = { cluster: clusterSecret, bucket: bucketSecret };

/** As installed without any values, but for the image and an upstream of the test. */
const single: Shape = { name: 'default, 1 replica', replicas: 1, workload: 'statefulset', values: {} };

function siblings(redis: string): Shape {
  return {
    name: 'StatefulSet with siblings and Redis, 2 replicas',
    replicas: 2,
    workload: 'statefulset',
    values: { replicaCount: 2, cluster: { enabled: true, existingSecret: clusterSecret }, redis: { url: redis } },
  };
}

function withBucket(redis: string, { endpoint, name }: NonNullable<Servers['bucket']>): Shape {
  return {
    name: 'Deployment with a bucket and Redis, 2 replicas',
    replicas: 2,
    workload: 'deployment',
    values: {
      kind: 'Deployment',
      replicaCount: 2,
      persistence: { enabled: false, size: '2Gi' },
      config: { storage: { ...small, shared: { bucket: name, endpoint, pathStyle: true } } },
      cluster: { enabled: true, existingSecret: clusterSecret },
      redis: { url: redis },
      bucket: { existingSecret: bucketSecret },
    },
  };
}

/** The shapes that can be installed with these servers. */
export function shapesWith({ redis, bucket }: Servers): readonly Shape[] {
  if (redis === undefined) return [single];
  return bucket ? [single, siblings(redis), withBucket(redis, bucket)] : [single, siblings(redis)];
}

/** Values of the test that every shape has. */
export function commonValues(image: string, upstream: string): Values {
  const [, repository, tag] = /^(.+):([^:/]+)$/.exec(image) ?? [];
  return {
    image: { repository, tag, pullPolicy: 'IfNotPresent' },
    service: { type: 'NodePort' },
    config: { storage: small },
    upstreams: { 'docker.io': { url: upstream } },
  };
}
