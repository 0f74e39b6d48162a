import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { tool } from '../../support/tools.ts';

export const chart = resolve(import.meta.dirname, '../../../charts/layerwell');

const object = z.looseObject({
  kind: z.string(),
  metadata: z.looseObject({ name: z.string() }),
});

/** An object that helm would create. */
export type KubernetesObject = z.output<typeof object>;

export interface Rendered {
  readonly yaml: string;
  readonly objects: readonly KubernetesObject[];
}

/** What helm would create, without a cluster. @throws with helm's own words when the values are refused. */
export async function render(args: readonly string[]): Promise<Rendered> {
  const isNamed = args.includes('--name-template');
  const all = [
    'template',
    ...(isNamed ? [] : ['release']),
    chart,
    '--namespace',
    'mirror',
    '--kube-version',
    '1.36.0',
    ...args,
  ];
  const { stdout: yaml } = await promisify(execFile)(tool('helm'), all, { maxBuffer: 16 * 1024 ** 2 });
  const parsed = parseAllDocuments(yaml);
  // Such as a key that is there twice, which the API server refuses.
  for (const problem of parsed.flatMap(({ errors }) => errors)) throw problem;
  const documents = parsed.map((each): unknown => each.toJS());
  return { yaml, objects: documents.filter((each) => each !== null).map((each) => object.parse(each)) };
}

/** As {@link render}, with values as of `--set`. */
export function renderWith(...sets: readonly string[]): Promise<Rendered> {
  return render(sets.flatMap((set) => ['--set', set]));
}

/** As {@link render}, with a file of values. */
export function renderFile(file: string): Promise<Rendered> {
  return render(['--values', file]);
}

/** Why helm refuses a file of values. @throws when it does not. */
export function refusalOfFile(file: string): Promise<string> {
  return refusalOf(['--values', file]);
}

/** Likewise, of the arguments of helm. */
export async function refusalOf(args: readonly string[]): Promise<string> {
  try {
    await render(args);
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause);
  }
  throw new Error(`${args.join(' ')} was accepted`);
}

/** The objects of a kind whose name is `release-layerwell` and the suffix. */
export function objectOf({ objects }: Rendered, kind: string, suffix = ''): KubernetesObject | undefined {
  return objects.find((each) => each.kind === kind && each.metadata.name === `release-layerwell${suffix}`);
}

/** The configuration file in its ConfigMap. */
export function configIn({ objects }: Rendered): string {
  const file = z.object({ data: z.object({ 'mirror.config.json': z.string() }) });
  const found = objects.map((each) => file.safeParse(each).data).find((each) => each !== undefined);
  if (found === undefined) throw new Error('no ConfigMap has mirror.config.json');
  return found.data['mirror.config.json'];
}

/** What is at a path such as `.spec.ports.0.port`. Keys with dots are written in brackets: `.data["a.b"]`. @returns null if there is nothing. */
export function at(value: unknown, path: string): unknown {
  const steps = [...path.matchAll(/\.([A-Za-z0-9_-]+)|\["([^"]+)"\]/g)].map(
    ([, plain, quoted]) => plain ?? quoted ?? '',
  );
  return steps.reduce<unknown>((node, step) => Object(node)[step], value) ?? null;
}
