import { setTimeout as sleep } from 'node:timers/promises';
import { until } from './cluster.ts';
import { certsFolder } from './kubelet.ts';
import { pullOnNode, startNodePulls } from './node-pulls.ts';
import { nodesReady, nodeValues } from './nodes.ts';
import type { Release } from './release.ts';
import { hasNode, isReplicated, nothingFailed, type Scenario } from './scenario.ts';
import type { Pulls } from './pods/pull-summary.ts';
import { namespace, nodesNamespace } from './stage.ts';

/** How long nodes pull before and after. */
const aroundMs = 5_000;

export const uninstall: Scenario = {
  key: 'uninstall',
  name: 'Uninstall',
  run: async (release) => {
    const pulls = isReplicated(release) && hasNode(release) ? await whileNodesPull(release) : undefined;
    if (!pulls) await remove(release);
    const left = await leftOf(release, namespace);
    const leftOnNodes = [...(await leftOf(release, nodesNamespace)), ...(await filesLeft(release))];
    await release.uninstall();
    const stays = left.length > 0 ? `stays: ${left.join(', ')}` : 'nothing stays';
    return {
      ...(pulls && { pulls }),
      note: pulls ? `${stays}; pulls by the node, whose containerd falls back to the registry` : stays,
      problems: [
        ...left.filter((object) => !object.startsWith('persistentvolumeclaim/')),
        ...leftOnNodes,
        ...(pulls ? nothingFailed(pulls) : []),
      ],
    };
  },
};

async function remove(release: Release): Promise<void> {
  await release.stage.cluster.helm(['uninstall', 'layerwell', '--namespace', namespace, '--wait']);
  const isGone = async () => (await leftOf(release, namespace)).every((object) => !object.startsWith('pod/'));
  await until('the pods are gone', isGone);
}

/**
 * The containerd of the node pulls by what the DaemonSet has written: the mirror, then the registry. Its files go with the release. The
 * registry is named by its address, so that the node reaches it without any file too.
 */
async function whileNodesPull(release: Release): Promise<Pulls> {
  const { cluster, upstream } = release.stage;
  const registry = new URL(upstream).host;
  await release.upgrade({ ...nodeValues(release, [registry]), upstreams: { [registry]: { url: upstream } } });
  await nodesReady(release);
  await pullsThroughMirror(release, `${registry}/library/app:first-${Date.now()}`);
  const pulls = startNodePulls(cluster, { registry, hostsFolder: certsFolder() });
  try {
    await sleep(aroundMs);
    await remove(release);
    await sleep(aroundMs);
  } catch (error) {
    throw new Error(`${String(error)}\nwhile pulling: ${JSON.stringify(await pulls.end())}`, { cause: error });
  }
  return pulls.end();
}

/** @throws when the registry is asked again for what the mirror has. */
async function pullsThroughMirror({ stage }: Release, image: string): Promise<void> {
  await pullOnNode(stage.cluster, image, certsFolder());
  const asked = await stage.blobsAsked();
  await pullOnNode(stage.cluster, image, certsFolder());
  const again = (await stage.blobsAsked()) - asked;
  if (again > 0) throw new Error(`the node pulls ${again} blobs from the registry that the mirror has`);
}

/** The objects of the release that are still there. */
async function leftOf({ stage: { cluster } }: Release, where: string): Promise<readonly string[]> {
  const kinds = 'all,configmap,secret,serviceaccount,persistentvolumeclaim,networkpolicy,poddisruptionbudget';
  const selector = 'app.kubernetes.io/instance=layerwell';
  const args = ['get', kinds, '--namespace', where, '--selector', selector, '--output', 'name'];
  return (await cluster.kubectl(args)).stdout.split('\n').filter((line) => line !== '');
}

/** The files that the release has left on the node. */
async function filesLeft({ stage: { cluster } }: Release): Promise<readonly string[]> {
  if (!cluster.hasNode) return [];
  const found = await cluster.onNode(`grep -rl '^# layerwell ${namespace}/' ${certsFolder()} || true`);
  return found.split('\n').filter((line) => line !== '');
}
