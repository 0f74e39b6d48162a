import { parse } from 'yaml';
import type { SchemaNode } from '../src/config/loading/json-schema.ts';

export interface ChartFiles {
  /** values.yaml: the defaults. */
  readonly valuesYaml: string;
  /** values.schema.json as it is. */
  readonly schema: { readonly properties: object; readonly $defs: Readonly<Record<string, Node>> };
}

/**
 * The schema of the chart's values: what is written there by hand, the schema of the configuration under `config`, and `required` for every key that
 * templates cannot do without. Only `null` takes such a key away, since values.yaml has them all.
 */
export function valuesSchema({ valuesYaml, schema }: ChartFiles, configSchema: SchemaNode): object {
  const { $schema: _, ...config } = structuredClone(configSchema);
  for (const section of [config.properties?.['listen'], config.properties?.['management'], clusterListen(config)]) {
    const port = property(section, 'port');
    if (port !== undefined) Object.assign(port, { minimum: 1, description: 'Services and probes must know it.' });
  }
  // The chart completes the section.
  Object.assign(config.properties?.['cluster'] ?? {}, { required: [] });
  const handwritten = { ...schema, properties: { ...schema.properties, config: {} } };
  const own = withRequired(handwritten, { defaults: parse(valuesYaml), defs: schema.$defs });
  const { properties, ...rest } = own;
  return { ...rest, properties: { ...properties, config } };
}

function clusterListen(config: SchemaNode): unknown {
  return property(config.properties?.['cluster'], 'listen');
}

interface Node {
  readonly properties?: object;
  readonly required?: readonly string[];
  readonly type?: string | readonly string[];
  readonly minItems?: number;
  readonly $ref?: string;
}

interface Given {
  readonly defaults: unknown;
  readonly defs: Readonly<Record<string, Node>>;
}

function withRequired<Schema extends Node>(
  node: Schema,
  { defaults, defs }: Given,
): Schema & { readonly properties: object } {
  const initialOf = (key: string): unknown => Object(defaults)[key];
  const entries = Object.entries(node.properties ?? {}).map(([key, child]: [string, Node]): [string, Node] => [
    key,
    child.properties === undefined ? child : withRequired(child, { defaults: initialOf(key), defs }),
  ]);
  const needed = entries.filter(([key, child]) => isNeeded(resolved(child, defs), initialOf(key)));
  const required = [...new Set([...(node.required ?? []), ...needed.map(([key]) => key)])];
  return { ...node, properties: Object.fromEntries(entries), required };
}

function resolved(node: Node, defs: Given['defs']): Node {
  return defs[node.$ref?.replace('#/$defs/', '') ?? ''] ?? node;
}

/** Lists and free maps may be null, unless they must hold something: templates leave them out. */
function isNeeded({ properties, minItems, type = [] }: Node, initial: unknown): boolean {
  if (initial === null || initial === undefined || type.includes('null')) return false;
  if (typeof initial !== 'object' || minItems !== undefined) return true;
  return properties !== undefined && Object.keys(initial).length > 0;
}

function property(node: unknown, name: string): object | undefined {
  const properties: unknown = Object(node).properties;
  const found: unknown = Object(properties)[name];
  return typeof found === 'object' && found !== null ? found : undefined;
}
