import { globSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Cluster } from './cluster.ts';
import { chart } from './release.ts';
import type { Line } from './report.ts';
import type { Finding } from './scenario.ts';
import { namespace, nodesNamespace, type Stage } from './stage.ts';

interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

const root = join(import.meta.dirname, '../..');
/** For kinds of which it has no definition. */
const notServed = 'not served by this cluster';
/** The values files of the ordinary tests. */
const accepted = 'test/clients/chart/accepted';

/**
 * The definitions in the folder of CLUSTER_CRDS, of kinds that other projects own. @throws when there are none in it.
 */
export function definitionsIn(folder: string | undefined): readonly KubernetesObject[] {
  if (folder === undefined || folder === '') return [];
  const texts = globSync(join(folder, '*.{yaml,yml}')).map((file) => readFileSync(file, 'utf8'));
  const definitions = texts.flatMap(objectsIn).filter(({ kind }) => kind === 'CustomResourceDefinition');
  if (definitions.length === 0) throw new Error(`CLUSTER_CRDS: no CustomResourceDefinition in ${folder}/*.yaml`);
  return definitions;
}

/** Adds the definitions that the cluster lacks, and removes them when it is disposed of. */
async function withDefinitions({ cluster }: Stage): Promise<AsyncDisposable> {
  const known = (await cluster.kubectl(['get', 'customresourcedefinitions', '--output', 'name'])).stdout.split('\n');
  const named = ({ metadata }: KubernetesObject) => `customresourcedefinition.apiextensions.k8s.io/${metadata.name}`;
  const added = definitionsIn(process.env['CLUSTER_CRDS']).filter((each) => !known.includes(named(each)));
  const names = added.map(named);
  const remove = async () => {
    if (names.length > 0) await cluster.kubectl(['delete', '--ignore-not-found', ...names]);
  };
  if (added.length > 0) {
    const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: added });
    try {
      await cluster.kubectl(['create', '--filename', '-'], { input });
      await cluster.kubectl(['wait', '--for', 'condition=Established', '--timeout', '60s', ...names]);
    } catch (error) {
      await remove();
      throw error;
    }
  }
  return { [Symbol.asyncDispose]: remove };
}

function objectsIn(yaml: string): readonly KubernetesObject[] {
  return parseAllDocuments(yaml).flatMap((document) => {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what Helm renders, or Kubernetes reads
    const object = document.toJS() as KubernetesObject | null;
    return object ? [object] : [];
  });
}

/** Every object of every values file is sent to the API server, which validates it and stores nothing. */
export async function dryRuns(stage: Stage): Promise<readonly Line[]> {
  const files = [join(chart, 'ci', '*-values.yaml'), join(root, accepted, '*.yaml')].flatMap((each) =>
    globSync(each).toSorted(),
  );
  await using _ = await withDefinitions(stage);
  const kinds = await servedKinds(stage);
  const lines: Line[] = [];
  for (const file of files) {
    const finding = await dryRun(stage, file, kinds);
    lines.push({ shape: relative(root, file), scenario: 'Server-side dry run', finding });
    process.stdout.write(`${JSON.stringify(lines.at(-1))}\n`);
  }
  const left = lines.filter(({ finding: { note } }) => note?.includes(notServed));
  const how = left.length > 0 ? '; CLUSTER_CRDS names a folder with their definitions' : '';
  process.stdout.write(`${left.length} of ${lines.length} values files with objects that were not sent${how}\n`);
  return lines;
}

async function dryRun({ cluster }: Stage, file: string, kinds: ReadonlySet<string>): Promise<Finding> {
  const version = ['--kube-version', '1.36.0'];
  const rendered = await cluster.helm([
    'template',
    'dry',
    chart,
    '--namespace',
    namespace,
    ...version,
    '--values',
    file,
  ]);
  const objects = objectsIn(rendered.stdout);
  const known = objects.filter((object) => kinds.has(object.kind));
  const others = [...new Set(objects.filter((object) => !kinds.has(object.kind)).map(({ kind }) => kind))];
  const left = others.length > 0 ? `, ${notServed}: ${others.join(', ')}` : '';
  const restricted = await sent(cluster, known, (its) => (its === namespace ? namespace : nodesNamespace));
  if (!isRefusedByPodSecurity(restricted)) return { note: `${known.length} objects${left}`, problems: restricted };
  const problems = await sent(cluster, known, () => nodesNamespace);
  return { note: `${known.length} objects${left}, not for a restricted namespace`, problems };
}

function isRefusedByPodSecurity(problems: readonly string[]): boolean {
  return problems.length > 0 && problems.every((problem) => problem.includes('PodSecurity'));
}

/** @returns why objects are refused. That a cluster lacks a family of addresses is not a problem of the object. */
async function sent(
  cluster: Cluster,
  objects: readonly KubernetesObject[],
  namespaceFor: (its: string) => string,
): Promise<readonly string[]> {
  const items = objects.map(({ metadata, ...rest }) => {
    const its = metadata.namespace;
    return { ...rest, metadata: { ...metadata, ...(its !== undefined && { namespace: namespaceFor(its) }) } };
  });
  const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
  const args = ['apply', '--dry-run=server', '--filename', '-'];
  const { code, stderr } = await cluster.kubectl(args, { input, mayFail: true });
  const errors = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('Warning'));
  return code === 0 ? [] : errors.filter((error) => !error.includes('not configured on this cluster'));
}

async function servedKinds({ cluster }: Stage): Promise<ReadonlySet<string>> {
  const { stdout } = await cluster.kubectl(['api-resources', '--no-headers']);
  return new Set(stdout.split('\n').flatMap((line) => line.trim().split(/\s+/).at(-1) ?? []));
}
