/** What the test gives to `helm --values`. */
export type Values = Readonly<Record<string, unknown>>;

/** A way to run the chart. */
export interface Shape {
  readonly name: string;
  readonly replicas: number;
  readonly workload: 'statefulset' | 'deployment';
  readonly values: Values;
  /** The keys of the scenarios that are enough for it. Default: all. */
  readonly scenarios?: readonly string[];
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

/** A user of the group 0, as OpenShift chooses one for each namespace. */
const arbitraryUser: Shape = {
  name: 'any user id of the group 0, as on OpenShift, 1 replica',
  replicas: 1,
  workload: 'statefulset',
  values: { podSecurityContext: { runAsUser: 1_000_680_000, runAsGroup: 0, fsGroup: 1_000_680_000 } },
  scenarios: ['install', 'exec', 'kubelet', 'uninstall'],
};

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
  const replicated = redis === undefined ? [] : [siblings(redis)];
  const stateless = redis === undefined || !bucket ? [] : [withBucket(redis, bucket)];
  return [single, ...replicated, ...stateless, arbitraryUser];
}

/** Values of the test that every shape has. */
export function commonValues(image: string, upstream: string): Values {
  const [, repository, tag] = /^(.+):([^:/]+)$/.exec(image) ?? [];
  return {
    image: { repository, tag, pullPolicy: 'IfNotPresent' },
    service: { type: 'NodePort' },
    config: { storage: small },
    upstreams: { 'docker.io': { url: upstream } },
    tests: { image: 'docker.io/library/app:helm-test' },
  };
}
