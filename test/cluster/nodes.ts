import { until } from './cluster.ts';
import { certsFolder, kubeletPull } from './kubelet.ts';
import type { Release } from './release.ts';
import { hasNode, type Scenario, seconds } from './scenario.ts';
import { namespace, nodesNamespace } from './stage.ts';

const foreign = 'server = "https://quay.io"\n';

/** The DaemonSet that writes what containerd reads. */
export const nodeConfiguration: readonly Scenario[] = [
  {
    key: 'nodes',
    name: 'Node configuration by the DaemonSet; the kubelet pulls through it',
    isFor: hasNode,
    run: async (release) => {
      const { cluster } = release.stage;
      await cluster.onNode(`rm -rf ${certsFolder()}/docker.io ${certsFolder()}/_default`);
      const fromMs = performance.now();
      await release.upgrade(nodeValues(release, ['docker.io']));
      await nodesReady(release);
      const readyMs = performance.now() - fromMs;
      const asked = await release.stage.blobsAsked();
      await kubeletPull(release, `nodes-${Date.now()}`);
      const blobs = (await release.stage.blobsAsked()) - asked;
      const written = await hosts(release, 'docker.io');
      const problems = [
        ...(blobs === 3 ? [] : [`the upstream was asked for ${blobs} blobs instead of 3`]),
        ...(written.includes(':30600"]') ? [] : [`docker.io/hosts.toml: ${written}`]),
      ];
      return { note: `written ${seconds(readyMs)} after the upgrade began`, problems };
    },
  },
  {
    key: 'nodes',
    name: 'A changed file of the node is repaired; a file of others stays as it is',
    isFor: hasNode,
    run: async (release) => {
      const { cluster } = release.stage;
      const folder = certsFolder();
      await cluster.onNode(`mkdir -p ${folder}/quay.io && cat > ${folder}/quay.io/hosts.toml`, { input: foreign });
      await release.upgrade(nodeValues(release, ['docker.io', 'quay.io']));
      await cluster.onNode(`echo '# changed' >> ${folder}/docker.io/hosts.toml`);
      const isRepaired = async () => !(await hosts(release, 'docker.io')).includes('# changed');
      const repairedMs = await until('the file is repaired', isRepaired, { withinMs: 60_000 });
      const kept = await hosts(release, 'quay.io');
      await cluster.onNode(`rm -rf ${folder}/quay.io`);
      await nodesReady(release);
      const problems = kept === foreign ? [] : [`quay.io/hosts.toml: ${kept}`];
      return { note: `repaired after ${seconds(repairedMs)} (looks every 5 s)`, problems };
    },
  },
  {
    key: 'nodes',
    name: 'Files of a release that is gone: not touched, then replaced with `takeOverFrom`',
    isFor: hasNode,
    run: async (release) => {
      const file = `${certsFolder()}/docker.io/hosts.toml`;
      await release.stage.cluster.onNode(`sed -i '1s| ${namespace}/layerwell:| gone/layerwell:|' ${file}`);
      const isRefused = async () => (await readyNodes(release)).startsWith('0 ');
      await until('the pod of the node is not ready', isRefused, { withinMs: 60_000 });
      const kept = await hosts(release, 'docker.io');
      await release.upgrade({ nodeConfiguration: { takeOverFrom: ['gone/layerwell'] } });
      await nodesReady(release);
      const replaced = await hosts(release, 'docker.io');
      const problems = [
        ...(kept.startsWith('# layerwell gone/layerwell:') ? [] : [`before takeOverFrom: ${kept}`]),
        ...(replaced.startsWith(`# layerwell ${namespace}/layerwell:`) ? [] : [`with takeOverFrom: ${replaced}`]),
      ];
      return { problems };
    },
  },
  {
    key: 'nodes',
    name: 'Node configuration switched off: its files are removed',
    isFor: hasNode,
    run: async (release) => {
      await release.upgrade({ nodeConfiguration: { enabled: false } });
      const left = await release.stage.cluster.onNode(`find ${certsFolder()} -type f`);
      return { problems: left.trim() === '' ? [] : [`files are left: ${left}`] };
    },
  },
];

export function nodeValues({ stage }: Release, registries: readonly string[]): Readonly<Record<string, unknown>> {
  return {
    service: { nodePort: 30_600 },
    nodeConfiguration: {
      enabled: true,
      namespace: nodesNamespace,
      folder: certsFolder(),
      configFile: process.env['CLUSTER_CONTAINERD_CONFIG'] ?? '/etc/containerd/config.toml',
      registries: registries.map((name) => ({ name, server: stage.upstream })),
      intervalSeconds: 5,
    },
  };
}

export async function nodesReady(release: Release): Promise<void> {
  await until('the nodes are configured', async () => /^([1-9]\d*) \1 \1$/.test(await readyNodes(release)));
}

/** How many pods of nodes are ready, how many there should be, and how many are of the last upgrade. */
function readyNodes({ stage: { cluster } }: Release): Promise<string> {
  const path = '{.status.numberReady} {.status.desiredNumberScheduled} {.status.updatedNumberScheduled}';
  return cluster.read('daemonset layerwell-node', path, nodesNamespace);
}

function hosts({ stage: { cluster } }: Release, registry: string): Promise<string> {
  return cluster.onNode(`cat ${certsFolder()}/${registry}/hosts.toml`);
}
