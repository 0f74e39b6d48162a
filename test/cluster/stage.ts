import { readdirSync, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { type Cluster, type Running, until } from './cluster.ts';
import type { Pulls } from './pods/pull-summary.ts';

export const namespace = 'layerwell-test';
/** For the pods that write files of the node, which the restricted standard forbids. */
export const nodesNamespace = 'layerwell-test-nodes';
/** All that the test works in; `layerwell` is that of the guide. */
const namespaces = new Set([namespace, nodesNamespace, 'layerwell']);
const warmImage = 'library/app:warm';

/** A namespace under the restricted Pod Security standard, with an upstream and a client, both from the mirror's image. */
export class Stage {
  readonly cluster: Cluster;
  readonly image: string;
  /** The address of the upstream, for pods and for the node. */
  upstream = '';

  constructor(cluster: Cluster, image: string) {
    this.cluster = cluster;
    this.image = image;
  }

  async setUp(): Promise<void> {
    const { cluster } = this;
    await this.#deleteNamespaces();
    await freeVolumes(cluster);
    const { stderr } = await cluster.kubectl(['apply', '--filename', '-'], { input: objects(this.image) });
    if (stderr.includes('Warning')) throw new Error(stderr);
    await cluster.kubectl(['rollout', 'status', 'deployment', '--namespace', namespace, '--timeout', '120s']);
    const address = await cluster.read('service upstream', '{.spec.clusterIP}', namespace);
    this.upstream = `http://${inUrl(address)}:5000`;
  }

  async tearDown(): Promise<void> {
    await this.#deleteNamespaces();
    await freeVolumes(this.cluster);
  }

  async #deleteNamespaces(): Promise<void> {
    const names = [namespace, nodesNamespace];
    await this.cluster.kubectl(['delete', 'namespace', ...names, '--ignore-not-found', '--wait']);
  }

  /** The address of the release's service. */
  async mirror(release: string, scheme = 'http'): Promise<string> {
    const { cluster } = this;
    const at = `service ${serviceOf(release)}`;
    const [host = '', port] = (await cluster.read(at, '{.spec.clusterIP} {.spec.ports[0].port}', namespace)).split(' ');
    return `${scheme}://${inUrl(host)}:${port}`;
  }

  async setUpstream(state: 'up' | 'gone'): Promise<void> {
    const replicas = state === 'up' ? 1 : 0;
    await this.cluster.kubectl(['scale', 'deployment/upstream', `--replicas=${replicas}`, '--namespace', namespace]);
    const count = () => this.cluster.read('deployment upstream', '{.status.readyReplicas}', namespace);
    await until(`the upstream is ${state}`, async () => Number(await count()) === replicas);
  }

  /** How many requests for blobs the upstream has had. */
  async blobsAsked(): Promise<number> {
    const script = `fetch('${this.upstream}/requests').then(async (got) => console.log((await got.json()).blobs))`;
    return Number(await this.inClient(['node', '-e', script]));
  }

  async inClient(command: readonly string[]): Promise<string> {
    const args = ['exec', '--namespace', namespace, 'deployment/client', '--', ...command];
    return (await this.cluster.kubectl(args)).stdout.trim();
  }

  /** Pulls once, which must work. */
  async pullOnce(mirror: string, image = warmImage): Promise<Pulls> {
    const pulls = await this.startPulls(mirror, { image, clients: 1 }).end();
    if (pulls.failed > 0) throw new Error(`a pull failed: ${JSON.stringify(pulls)}`);
    return pulls;
  }

  startPulls(mirror: string, { image = warmImage, clients = 2 } = {}): { readonly end: () => Promise<Pulls> } {
    const command = ['node', '/pods/pull-loop.ts', mirror, String(clients), image];
    const running: Running = this.cluster.start([
      'exec',
      '--stdin',
      '--namespace',
      namespace,
      'deployment/client',
      '--',
      ...command,
    ]);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- printed by pull-loop.ts
    return { end: async () => JSON.parse(await running.end()) as Pulls };
  }
}

/** An address as a URL has it: with the brackets of an IPv6 address. */
export function inUrl(address: string): string {
  return isIPv6(address) ? `[${address}]` : address;
}

/** The chart's name of a release that contains the chart's name. */
function serviceOf(release: string): string {
  return release;
}

/** Volumes of the test that are kept (`Retain`) after their claim is gone can be claimed again. */
export async function freeVolumes(cluster: Cluster): Promise<void> {
  const { stdout } = await cluster.kubectl(['get', 'persistentvolume', '--output', 'json']);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what kubectl prints
  const { items } = JSON.parse(stdout) as { items: readonly Volume[] };
  const ours = items.filter(({ spec, status }) => {
    return status.phase === 'Released' && namespaces.has(spec.claimRef?.namespace ?? '');
  });
  for (const { metadata } of ours)
    await cluster.kubectl(['patch', 'persistentvolume', metadata.name, '--type', 'json', '--patch', unclaim]);
}

interface Volume {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly claimRef?: { readonly namespace: string } };
  readonly status: { readonly phase: string };
}

const unclaim = '[{"op":"remove","path":"/spec/claimRef"}]';

/** What runs in the pods, and what it imports, by their names in one folder. */
export function podScripts(): Readonly<Record<string, string>> {
  const folder = join(import.meta.dirname, 'pods');
  const names = readdirSync(folder).filter((name) => name.endsWith('.ts'));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
}

const hardened = {
  allowPrivilegeEscalation: false,
  runAsNonRoot: true,
  runAsUser: 65532,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
};

function deployment(name: string, image: string, command: readonly string[], probe: object = {}): object {
  const labels = { app: name };
  const container = {
    name,
    image,
    command,
    ...probe,
    securityContext: hardened,
    volumeMounts: [{ name: 'pods', mountPath: '/pods' }],
  };
  const spec = {
    automountServiceAccountToken: false,
    terminationGracePeriodSeconds: 1,
    containers: [container],
    volumes: [{ name: 'pods', configMap: { name: 'pods' } }],
  };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
  };
}

function objects(image: string): string {
  const levels = ['enforce', 'warn', 'audit'].map((mode) => [`pod-security.kubernetes.io/${mode}`, 'restricted']);
  const probe = { readinessProbe: { httpGet: { path: '/v2/', port: 5000 }, periodSeconds: 1 } };
  const items = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels: Object.fromEntries(levels) } },
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: nodesNamespace } },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'pods', namespace }, data: podScripts() },
    deployment('upstream', image, ['node', '/pods/upstream.ts'], probe),
    deployment('client', image, ['sleep', 'infinity']),
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'upstream', namespace },
      spec: { selector: { app: 'upstream' }, ports: [{ port: 5000 }] },
    },
  ];
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
}
