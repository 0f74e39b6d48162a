import { setTimeout as sleep } from 'node:timers/promises';
import { until } from './cluster.ts';
import type { Release } from './release.ts';
import { hasNode, isReplicated, nothingFailed, nothingLost, type Scenario, seconds } from './scenario.ts';
import { namespace } from './stage.ts';

/** What an operator plans: with two replicas no attempt fails, with one it is a short gap. */
export const plannedChanges: readonly Scenario[] = [
  {
    key: 'install',
    name: 'Install',
    run: async (release) => {
      const fromMs = performance.now();
      await release.install();
      await release.allReady();
      const readyMs = performance.now() - fromMs;
      await release.stage.pullOnce(await release.mirror());
      return { note: `ready after ${seconds(readyMs)}, no Pod Security warning`, problems: [] };
    },
  },
  {
    key: 'helm-test',
    name: '`helm test`: a pull through every way of naming a registry',
    run: async (release) => {
      await release.stage.cluster.helm(['test', 'layerwell', '--namespace', namespace, '--timeout', '120s']);
      return { problems: [] };
    },
  },
  {
    key: 'exec',
    name: '`kubectl exec … layerwell check` and `layerwell health`',
    run: async (release) => {
      const [pod = ''] = await release.pods();
      const exec = (command: string) =>
        release.stage.cluster.kubectl(['exec', pod, '--namespace', namespace, '--', 'layerwell', command]);
      const outputs = [await exec('check'), await exec('health')].map(({ stdout }) => stdout.trim());
      const problems = /: ok$/m.test(outputs[0] ?? '') ? [] : outputs;
      return { note: `\`${outputs.join('`, `')}\``, problems };
    },
  },
  {
    key: 'reload',
    name: 'Upgrade: a key that is reloaded (`freshness.tag`)',
    run: async (release) => {
      const before = await identities(release);
      const pulls = await release.underLoad(() => release.upgrade({ config: { freshness: { tag: '7m' } } }));
      const restarted = (await identities(release)) !== before;
      return {
        pulls,
        note: restarted ? 'the pods were replaced' : 'no pod was restarted',
        problems: nothingFailed(pulls),
      };
    },
  },
  {
    key: 'restart',
    name: 'Upgrade that restarts every pod',
    run: async (release) => {
      const pulls = await release.underLoad(async () => {
        await release.upgrade({ podAnnotations: { restarted: String(Date.now()) } });
        await release.allReady();
      });
      const note = `longest time without a pull: ${seconds(pulls.longestGapMs)}`;
      return { pulls, note, problems: isReplicated(release) ? nothingFailed(pulls) : [] };
    },
  },
  {
    key: 'bad-config',
    name: 'Upgrade to a configuration that cannot be used',
    run: async (release) => {
      const before = await identities(release);
      let refusal = '';
      const pulls = await release.underLoad(async () => {
        const { code, stdout, stderr } = await release.tryUpgrade({ config: { defaultUpstream: 'no.such.upstream' } });
        if (code === 0) throw new Error('it was accepted');
        const lines = `${stdout}\n${stderr}`.trim().split('\n');
        refusal = (lines.find((line) => line.includes('defaultUpstream')) ?? lines.at(-1) ?? '').trim();
      });
      const problems = [...nothingFailed(pulls)];
      if ((await identities(release)) !== before) problems.push('a pod was replaced');
      await release.upgrade({});
      await release.allReady();
      return { pulls, note: `refused: ${refusal.slice(0, 160)}`, problems };
    },
  },
  {
    key: 'scale',
    name: 'Scale up by one, and down again',
    isFor: isReplicated,
    run: async (release) => {
      const { replicas } = release.shape;
      const pulls = await release.underLoad(async () => {
        await release.scale(replicas + 1);
        await sleep(3_000);
        await release.scale(replicas);
        await until('the pod is gone', async () => (await release.pods()).length === replicas);
      });
      return { pulls, problems: nothingFailed(pulls) };
    },
  },
  {
    key: 'drain',
    name: 'Drain of the node, one pod after the other',
    isFor: isReplicated,
    run: async (release) => {
      const pulls = await release.underLoad(() => drained(release));
      return { pulls, problems: nothingFailed(pulls) };
    },
  },
];

/** What nobody plans. An attempt that is under way may fail, a pull that is repeated may not. */
export const faults: readonly Scenario[] = [
  {
    key: 'sigkill',
    name: 'SIGKILL of one mirror',
    isFor: (release) => isReplicated(release) && hasNode(release),
    run: async (release) => {
      const [pod = ''] = await release.pods();
      const before = await release.restarts(pod);
      const pulls = await release.underLoad(async () => {
        await release.signal(pod, 'SIGKILL');
        await until('it was started again', async () => (await release.restarts(pod)) > before);
        await release.allReady();
      });
      return { pulls, problems: nothingLost(pulls) };
    },
  },
  {
    key: 'sigstop',
    name: 'SIGSTOP of one mirror (it hangs)',
    isFor: (release) => isReplicated(release) && hasNode(release),
    run: async (release) => {
      const [pod = ''] = await release.pods();
      const before = await release.restarts(pod);
      let restartedMs = 0;
      const pulls = await release.underLoad(async () => {
        await release.signal(pod, 'SIGSTOP');
        restartedMs = await until('it was started again', async () => (await release.restarts(pod)) > before, {
          withinMs: 180_000,
        });
        await release.allReady();
      });
      const note = `restarted after ${seconds(restartedMs)}, longest pull ${seconds(pulls.longestPullMs)}`;
      return { pulls, note, problems: nothingLost(pulls) };
    },
  },
];

/** Which containers run: changes whenever a pod or its container is replaced. */
async function identities(release: Release): Promise<string> {
  const pods = await release.pods();
  const read = (pod: string) =>
    release.stage.cluster.read(`pod ${pod}`, '{.metadata.uid} {.status.containerStatuses[0].containerID}', namespace);
  return (await Promise.all(pods.map(read))).join('\n');
}

/**
 * Drains the node as `kubectl drain` does, by evictions that the disruption budget allows. The only node takes the pods back at once: it is
 * made schedulable again as soon as a pod has left it.
 */
async function drained(release: Release): Promise<void> {
  const { cluster } = release.stage;
  const [first = ''] = await release.pods();
  const node = await cluster.read(`pod ${first}`, '{.spec.nodeName}', namespace);
  const before = new Set(await uids(release));
  const selector = '--pod-selector=app.kubernetes.io/instance=layerwell';
  const options = ['--delete-emptydir-data', '--ignore-daemonsets', '--force', '--timeout=150s'];
  const drain = cluster.start(['drain', node, selector, ...options]);
  let refusal = '';
  void drain.ended().then(({ code, stderr }) => {
    if (code !== 0) refusal = `kubectl drain ended with ${code}: ${stderr}`;
  });
  try {
    await until(
      'the drain has begun',
      async () => (await cluster.read(`node ${node}`, '{.spec.unschedulable}', namespace)) === 'true',
    );
    await until('a pod was evicted', async () => {
      if (refusal !== '') throw new Error(refusal);
      return (
        (await uids(release)).some((uid) => !before.has(uid)) || (await release.pods()).length < release.shape.replicas
      );
    });
    await cluster.kubectl(['uncordon', node]);
    await drain.ended();
    if (refusal !== '') throw new Error(refusal);
    await until('every pod was replaced', async () => (await uids(release)).every((uid) => !before.has(uid)));
    await release.allReady();
  } finally {
    await cluster.kubectl(['uncordon', node]);
  }
}

async function uids(release: Release): Promise<readonly string[]> {
  const pods = await release.pods();
  return Promise.all(pods.map((pod) => release.stage.cluster.read(`pod ${pod}`, '{.metadata.uid}', namespace)));
}
