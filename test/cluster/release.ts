import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Output, until } from './cluster.ts';
import { commonValues, type Shape, secrets, type Values } from './shapes.ts';
import type { Pulls } from './pods/pull-summary.ts';
import { freeVolumes, namespace, type Stage } from './stage.ts';

export const chart = resolve(import.meta.dirname, '../../charts/layerwell');
/** A name that contains the chart's, so that it is the name of the objects too. */
const name = 'layerwell';

/** One release of the chart in the stage's namespace. */
export class Release {
  readonly stage: Stage;
  readonly shape: Shape;
  #values: readonly Values[] = [];

  constructor(stage: Stage, shape: Shape) {
    this.stage = stage;
    this.shape = shape;
  }

  /** @throws when it is not ready, or the cluster printed a warning. */
  async install(): Promise<void> {
    await freeVolumes(this.stage.cluster);
    await this.#createSecrets();
    this.#values = [commonValues(this.stage.image, this.stage.upstream), this.shape.values];
    const { stderr } = await this.#helm('install', this.#values);
    if (/warning|would violate/i.test(stderr)) throw new Error(stderr);
  }

  /** Keeps the values for later upgrades, if it succeeded. */
  async upgrade(values: Values): Promise<void> {
    await this.#helm('upgrade', [...this.#values, values]);
    this.#values = [...this.#values, values];
  }

  /** An upgrade that may be refused, by the chart or in the cluster. */
  tryUpgrade(values: Values): Promise<Output> {
    return this.#helm('upgrade', [...this.#values, values], { mayFail: true, timeout: '60s' });
  }

  async uninstall(): Promise<void> {
    const { cluster } = this.stage;
    await cluster.helm(['uninstall', name, '--namespace', namespace, '--wait', '--ignore-not-found']);
    await cluster.kubectl(['delete', 'pvc', '--namespace', namespace, '--selector', selector, '--wait']);
  }

  /** Names of the mirror's pods that are not being deleted, without those of hooks. */
  async pods(): Promise<readonly string[]> {
    const args = ['get', 'pods', '--namespace', namespace, '--selector', selector, '--output', 'json'];
    const { stdout } = await this.stage.cluster.kubectl(args);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what kubectl prints
    const { items } = JSON.parse(stdout) as { items: readonly Pod[] };
    return items.flatMap(({ metadata: { name: pod, deletionTimestamp, ownerReferences = [] } }) => {
      const isReplica = ownerReferences.some(({ kind }) => kind === 'StatefulSet' || kind === 'ReplicaSet');
      return isReplica && deletionTimestamp === undefined ? [pod] : [];
    });
  }

  async allReady(replicas = this.shape.replicas): Promise<void> {
    const path = '{.status.replicas} {.status.readyReplicas} {.status.updatedReplicas}';
    const read = () => this.stage.cluster.read(`${this.shape.workload} ${name}`, path, namespace);
    const wanted = `${replicas} ${replicas} ${replicas}`;
    await until(`${replicas} replicas are ready`, async () => (await read()) === wanted, { withinMs: 180_000 });
  }

  async scale(replicas: number): Promise<void> {
    await this.upgrade({ replicaCount: replicas });
    await this.allReady(replicas);
  }

  /** Sends a signal to the process of a pod, from the node: process 1 cannot be killed from within. */
  async signal(pod: string, signal: string): Promise<void> {
    const path = '{.status.containerStatuses[?(@.name=="layerwell")].containerID}';
    const id = (await this.stage.cluster.read(`pod ${pod}`, path, namespace)).replace('containerd://', '');
    await this.stage.cluster.onNode(`ctr --namespace k8s.io task kill --signal ${signal} ${id}`);
  }

  async restarts(pod: string): Promise<number> {
    return Number(
      await this.stage.cluster.read(`pod ${pod}`, '{.status.containerStatuses[0].restartCount}', namespace),
    );
  }

  /** The port of the service on every node. */
  async nodePort(): Promise<number> {
    return Number(await this.stage.cluster.read(`service ${name}`, '{.spec.ports[0].nodePort}', namespace));
  }

  /** Pulls go on until the work is done and for a while after. */
  async underLoad(work: () => Promise<void>, { scheme = 'http', afterMs = 5_000 } = {}): Promise<Pulls> {
    const mirror = await this.stage.mirror(name, scheme);
    await this.stage.pullOnce(mirror);
    const pulls = this.stage.startPulls(mirror);
    await new Promise((passed) => setTimeout(passed, 2_000));
    try {
      await work();
      await new Promise((passed) => setTimeout(passed, afterMs));
    } catch (error) {
      throw new Error(`${String(error)}\nwhile pulling: ${JSON.stringify(await pulls.end())}`, { cause: error });
    }
    return pulls.end();
  }

  mirror(scheme = 'http'): Promise<string> {
    return this.stage.mirror(name, scheme);
  }

  async #createSecrets(): Promise<void> {
    const account = {
      AWS_ACCESS_KEY_ID: process.env['CLUSTER_S3_KEY'],
      AWS_SECRET_ACCESS_KEY: process.env['CLUSTER_S3_SECRET'],
    };
    const items = [
      secretOf(secrets.cluster, { secret: 'first-secret-of-the-replicas-0123456789' }),
      secretOf(secrets.bucket, account),
    ];
    await this.stage.cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), namespace);
  }

  async #helm(verb: string, values: readonly Values[], { mayFail = false, timeout = '180s' } = {}): Promise<Output> {
    await using folder = await mkdtempDisposable(join(tmpdir(), 'layerwell-values-'));
    const files: string[] = [];
    for (const [nth, each] of values.entries()) {
      const file = join(folder.path, `${nth}.json`);
      await writeFile(file, JSON.stringify(each));
      files.push('--values', file);
    }
    const args = [verb, name, chart, '--namespace', namespace, '--wait', '--timeout', timeout, ...files];
    return await this.stage.cluster.helm(args, { mayFail });
  }
}

interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly deletionTimestamp?: string;
    readonly ownerReferences?: readonly { readonly kind: string }[];
  };
}

const selector = `app.kubernetes.io/instance=${name}`;

export function secretOf(name: string, data: Readonly<Record<string, string | undefined>>): object {
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, stringData: data };
}
