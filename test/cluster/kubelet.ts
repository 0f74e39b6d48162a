import { until } from './cluster.ts';
import type { Release } from './release.ts';
import { hasNode, type Finding, type Scenario, seconds } from './scenario.ts';
import { inUrl, namespace, type Stage } from './stage.ts';

/** How long a pull may take that falls back because the mirror's port refuses. */
const refusedWithinMs = 2_000;
/** `dial_timeout` of the node's configuration. */
const dialMs = 1_000;
/** A tag and three blobs, of which containerd asks for three at once; each is asked at the mirror first. */
const dialsOfPull = 4;

/** Pulls by the kubelet of a node whose containerd asks the mirror first. */
export const kubeletPulls: readonly Scenario[] = [
  {
    key: 'kubelet',
    name: 'The kubelet pulls through the mirror',
    isFor: hasNode,
    run: async (release) => {
      await pointNodeAt(release);
      const asked = await release.stage.blobsAsked();
      const ms = await kubeletPull(release, fresh('through'));
      const blobs = (await release.stage.blobsAsked()) - asked;
      const problems = blobs === 3 ? [] : [`the upstream was asked for ${blobs} blobs instead of 3`];
      return { note: `${seconds(ms)}, the upstream was asked once for each blob`, problems };
    },
  },
  {
    key: 'upstream-gone',
    name: 'The kubelet pulls a cached image, the upstream is gone',
    isFor: hasNode,
    run: async (release) => {
      await pointNodeAt(release);
      const tag = fresh('cached');
      await release.stage.pullOnce(await release.mirror(), `library/app:${tag}`);
      await release.stage.setUpstream('gone');
      try {
        return { note: seconds(await kubeletPull(release, tag)), problems: [] };
      } finally {
        await release.stage.setUpstream('up');
      }
    },
  },
  {
    key: 'mirror-gone',
    name: 'The kubelet pulls, the port of the mirror refuses',
    isFor: hasNode,
    run: async (release) => {
      await pointNodeAt(release, 1); // Nothing listens there.
      return fallsBack(release, 'refused', refusedWithinMs);
    },
  },
  {
    key: 'mirror-black-holed',
    name: 'The kubelet pulls, the mirror is black-holed',
    isFor: hasNode,
    run: async (release) => {
      const port = await pointNodeAt(release);
      const rule = `OUTPUT --protocol tcp --dport ${port} --jump DROP`;
      await release.stage.cluster.onNode(`iptables --table raw --insert ${rule}`);
      try {
        return await fallsBack(release, 'black-holed', dialsOfPull * dialMs + 1_000);
      } finally {
        await release.stage.cluster.onNode(`iptables --table raw --delete ${rule}`);
      }
    },
  },
];

async function fallsBack(release: Release, tag: string, withinMs: number): Promise<Finding> {
  const ms = await kubeletPull(release, fresh(tag));
  const problems = ms > withinMs ? [`took ${seconds(ms)} instead of at most ${seconds(withinMs)}`] : [];
  return { note: `falls back to the registry: ${seconds(ms)} in all`, problems };
}

/** Writes what the node's containerd reads for Docker Hub. @returns the port of the mirror. */
async function pointNodeAt(release: Release, otherPort?: number): Promise<number> {
  const { cluster, upstream } = release.stage;
  const port = otherPort ?? (await release.nodePort());
  const folder = `${certsFolder()}/docker.io`;
  const lines = [
    `server = "${upstream}"`,
    `[host."http://${inUrl(await nodeAddress(release.stage))}:${port}"]`,
    '  capabilities = ["pull", "resolve"]',
    '  dial_timeout = "1s"',
  ];
  await cluster.onNode(`mkdir -p ${folder} && cat > ${folder}/hosts.toml`, { input: `${lines.join('\n')}\n` });
  return port;
}

/** The `config_path` of the node's containerd. */
export function certsFolder(): string {
  return process.env['CLUSTER_CERTS_D'] ?? '/etc/containerd/certs.d';
}

async function nodeAddress(stage: Stage): Promise<string> {
  const path = '{.items[0].status.addresses[?(@.type=="InternalIP")].address}';
  const { stdout } = await stage.cluster.kubectl(['get', 'nodes', '--output', `jsonpath=${path}`]);
  return stdout.trim().split(' ')[0] ?? '';
}

/** A tag whose layers the node cannot have of a former run. */
function fresh(tag: string): string {
  return `${tag}-${Date.now()}`;
}

/** A pod whose image the node does not have. @returns how long the kubelet took to pull it. */
export async function kubeletPull(release: Release, tag: string): Promise<number> {
  const { cluster } = release.stage;
  const name = `pull-${tag}`;
  const reference = `docker.io/library/app:${tag}`;
  await cluster.kubectl(['delete', 'pod', name, '--namespace', namespace, '--ignore-not-found', '--wait']);
  await cluster.onNode(`ctr --namespace k8s.io images rm ${reference}`, { mayFail: true });
  await cluster.apply(JSON.stringify(podOf(name, reference)), namespace);
  let message = '';
  await until(`${reference} was pulled`, async () => {
    message = await eventOf(release, name);
    return message !== '';
  });
  await cluster.kubectl(['delete', 'pod', name, '--namespace', namespace, '--wait=false']);
  if (!message.startsWith('Successfully pulled')) throw new Error(message);
  return durationIn(message);
}

async function eventOf(release: Release, pod: string): Promise<string> {
  const selector = `--field-selector=involvedObject.name=${pod}`;
  const args = ['get', 'events', '--namespace', namespace, selector, '--output', 'json'];
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what kubectl prints
  const { items } = JSON.parse((await release.stage.cluster.kubectl(args)).stdout) as {
    items: { reason: string; message: string }[];
  };
  return (
    items.find(({ reason, message }) => reason === 'Pulled' || message.startsWith('Failed to pull'))?.message ?? ''
  );
}

/** From "Successfully pulled image … in 1.2s (1.2s including waiting)". */
function durationIn(message: string): number {
  const [, minutes = '0', amount = '', unit] = /\bin (?:(\d+)m)?([\d.]+)(ms|s)\b/.exec(message) ?? [];
  return Number(minutes) * 60_000 + Number(amount) * (unit === 's' ? 1_000 : 1);
}

function podOf(name: string, image: string): object {
  const securityContext = {
    runAsNonRoot: true,
    runAsUser: 65532,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  };
  const container = { name: 'app', image, imagePullPolicy: 'Always', securityContext };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: { restartPolicy: 'Never', terminationGracePeriodSeconds: 1, containers: [container] },
  };
}
