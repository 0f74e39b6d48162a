import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { until } from './cluster.ts';
import { certsFolder } from './kubelet.ts';
import { chart } from './release.ts';
import type { Line } from './report.ts';
import { seconds } from './scenario.ts';
import type { Stage } from './stage.ts';

const page = join(import.meta.dirname, '../../docs/kubernetes.md');
const namespace = 'layerwell';
const nodes = 'layerwell-nodes';

/** Runs the commands of the first two sections of docs/kubernetes.md, with the addresses of the test in place of those of the page. */
export async function followGuide(stage: Stage): Promise<readonly Line[]> {
  await remove(stage);
  try {
    await using folder = await mkdtempDisposable(join(tmpdir(), 'layerwell-guide-'));
    const guide = new Guide(stage, folder.path, await readFile(page, 'utf8'));
    return [
      await guide.firstSection(),
      ...(process.env['CLUSTER_REDIS'] === undefined ? [] : [await guide.secondSection()]),
    ];
  } finally {
    await remove(stage);
  }
}

async function remove({ cluster }: Stage): Promise<void> {
  await cluster.helm(['uninstall', 'layerwell', '--namespace', namespace, '--ignore-not-found']);
  await cluster.kubectl(['delete', 'namespace', namespace, nodes, '--ignore-not-found', '--wait']);
}

class Guide {
  readonly #stage: Stage;
  readonly #folder: string;
  readonly #sections: readonly string[];

  constructor(stage: Stage, folder: string, text: string) {
    [this.#stage, this.#folder, this.#sections] = [stage, folder, text.split(/^## /m)];
  }

  async firstSection(): Promise<Line> {
    const fromMs = performance.now();
    const section = this.#section('Five minutes');
    await this.#writeValues([...blocksOf(section, 'yaml'), this.#ofTest()]);
    const [install = '', pull = ''] = blocksOf(section, 'sh');
    await this.#shell(install);
    await this.#shell(pull.replace('alpine:3.22', `app:guide-${Date.now()}`));
    return this.#line('Five minutes: from nothing to nodes that pull through it', performance.now() - fromMs);
  }

  async secondSection(): Promise<Line> {
    const fromMs = performance.now();
    const section = this.#section('High availability');
    const [secret = '', upgrade = ''] = blocksOf(section, 'sh');
    const values = [...blocksOf(this.#section('Five minutes'), 'yaml'), ...blocksOf(section, 'yaml')];
    await this.#writeValues([...values, this.#ofTest()]);
    await this.#shell(secret);
    await this.#shell(upgrade);
    const ready = () => this.#stage.cluster.read('statefulset layerwell', '{.status.readyReplicas}', namespace);
    await until('both replicas are ready', async () => (await ready()) === '2');
    return this.#line('High availability', performance.now() - fromMs);
  }

  #line(scenario: string, ms: number): Line {
    return { shape: 'The guide above', scenario, finding: { note: `done in ${seconds(ms)}`, problems: [] } };
  }

  #section(title: string): string {
    return this.#sections.find((section) => section.startsWith(title)) ?? '';
  }

  /** Values that only the test needs: a small cache, its own upstream, and where the node's files are. */
  #ofTest(): string {
    const upstreams = { 'docker.io': { url: this.#stage.upstream } };
    const configFile = process.env['CLUSTER_CONTAINERD_CONFIG'] ?? '/etc/containerd/config.toml';
    const registries = [{ name: 'docker.io', server: this.#stage.upstream }];
    return stringify({
      config: { storage: { maxSize: '1GiB', minFree: '100MiB' } },
      upstreams,
      nodeConfiguration: { folder: certsFolder(), configFile, registries },
    });
  }

  async #writeValues(parts: readonly string[]): Promise<void> {
    const values = parts.map((part): unknown => parse(this.#placed(part))).reduce(merged, {});
    await writeFile(join(this.#folder, 'values.yaml'), stringify(values));
  }

  #placed(text: string): string {
    const [, repository = '', tag = ''] = /^(.+):([^:/]+)$/.exec(this.#stage.image) ?? [];
    return text
      .replace('registry.example.com/layerwell', repository)
      .replace('tag: 0.1.0', `tag: ${tag}`)
      .replace('redis://valkey.layerwell.svc:6379', process.env['CLUSTER_REDIS'] ?? '');
  }

  async #shell(block: string): Promise<void> {
    const script = block
      .replaceAll('charts/layerwell', chart)
      .replaceAll('values.yaml', join(this.#folder, 'values.yaml'));
    await this.#stage.cluster.shell(script);
  }
}

/** As Helm merges values. */
function merged(one: unknown, other: unknown): unknown {
  if (!isObject(one) || !isObject(other)) return other;
  const keys = [...new Set([...Object.keys(one), ...Object.keys(other)])];
  return Object.fromEntries(keys.map((key) => [key, key in other ? merged(one[key], other[key]) : one[key]]));
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The blocks of code of a section in this language, without the indentation of a list. */
function blocksOf(section: string, language: string): readonly string[] {
  const blocks = section.matchAll(new RegExp(`^( *)\`\`\`${language}\\n([^]*?)^ *\`\`\`$`, 'gm'));
  return [...blocks].map(([, indent = '', block = '']) => block.replaceAll(new RegExp(`^${indent}`, 'gm'), ''));
}
