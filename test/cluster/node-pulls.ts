import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from './cluster.ts';
import { type Attempt, type Pulls, summaryOf } from './pods/pull-summary.ts';

export interface NodePullsOptions {
  /** As images name it. */
  readonly registry: string;
  /** The `config_path` of containerd. */
  readonly hostsFolder: string;
  readonly clients?: number;
}

const runtime = 'ctr --namespace layerwell-test';
/** Pauses before the attempts of a pull, as in pods/pull-loop.ts. */
const pausesMs = [0, 50, 500, 1_500];

/** Pulls an image by the containerd of the node, as its `hosts.toml` says, and forgets it. @throws when the pull fails. */
export async function pullOnNode(cluster: Cluster, image: string, hostsFolder: string): Promise<void> {
  const pull = `${runtime} content fetch --plain-http --hosts-dir ${hostsFolder} ${image}`;
  await cluster.onNode(`${pull} 2>&1 && ${runtime} images rm --sync ${image}`, { withinMs: 60_000 });
}

/**
 * The containerd of the node pulls in a loop, and verifies every byte. It has none of the images; one in four is one that the mirror does not have
 * either.
 */
export function startNodePulls(
  cluster: Cluster,
  { registry, hostsFolder, clients = 2 }: NodePullsOptions,
): { readonly end: () => Promise<Pulls> } {
  const startedMs = performance.now();
  const attempts: Attempt[] = [];
  let [isEnded, lost] = [false, 0];
  const attempt = async (image: string): Promise<boolean> => {
    const fromMs = performance.now() - startedMs;
    const reason = await pullOnNode(cluster, image, hostsFolder).then(() => undefined, reasonOf);
    attempts.push({ fromMs, toMs: performance.now() - startedMs, reason });
    return reason === undefined;
  };
  const repeated = async (image: string): Promise<void> => {
    for (const pauseMs of pausesMs) {
      await sleep(pauseMs);
      if (await attempt(image)) return;
    }
    lost += 1;
  };
  const client = async (nth: number): Promise<void> => {
    const warm = `${registry}/library/app:node-${nth}`;
    for (let turn = 0; !isEnded; turn += 1) await repeated(turn % 4 === 3 ? `${warm}-cold-${Date.now()}` : warm);
  };
  const running = Promise.all(Array.from({ length: clients }, (_, nth) => client(nth)));
  running.catch(() => {}); // Thrown by `end`.
  return {
    end: async () => {
      isEnded = true;
      await running;
      return summaryOf(attempts, { lost, endedMs: performance.now() - startedMs });
    },
  };
}

/** The last line of what ctr printed. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split('\n').at(-1)?.slice(0, 200) ?? '';
}
