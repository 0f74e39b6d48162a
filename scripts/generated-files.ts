import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { configReference } from './config-reference.ts';
import { metricsReference } from './metrics-reference.ts';
import { configJsonSchema, type SchemaNode } from '../src/config/loading/json-schema.ts';

export interface GeneratedFile {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: string;
}

/** Every file that says in its own way what the configuration's zod schema, or the code of the metrics, says, as it should be. */
export async function generatedFiles(root: string): Promise<readonly GeneratedFile[]> {
  const schema = configJsonSchema();
  const reference = 'docs/configuration.md';
  const metrics = 'docs/metrics.md';
  const values = 'charts/layerwell/values.schema.json';
  return [
    { path: 'mirror.config.schema.json', text: json({ title: 'mirror.config.json', ...schema }) },
    { path: reference, text: withTables(readFileSync(join(root, reference), 'utf8'), configReference(schema)) },
    { path: metrics, text: withTables(readFileSync(join(root, metrics), 'utf8'), await metricsReference()) },
    { path: values, text: json(withConfig(JSON.parse(readFileSync(join(root, values), 'utf8')), schema)) },
  ];
}

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function withConfig(values: { readonly properties: object }, schema: SchemaNode): object {
  const { $schema: _, ...config } = schema;
  return { ...values, properties: { ...values.properties, config } };
}

const begin = '<!-- The tables are written by `npm run schema`. -->\n';
const end = '<!-- End of the tables. -->\n';

function withTables(page: string, tables: string): string {
  const [before, rest] = page.split(begin);
  const after = rest?.split(end)[1];
  if (before === undefined || after === undefined) throw new Error('the marks around the tables are missing');
  return `${before}${begin}\n${tables}\n${end}${after}`;
}
