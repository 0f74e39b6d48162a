import { childOf, keysOf, type SchemaNode, variantsOf } from '../src/config/loading/json-schema.ts';

/** The tables of docs/configuration.md: every key with its type, its default and its description. */
export function configReference(schema: SchemaNode): string {
  const sections = keysOf(schema).map((key) => rowsOf(schema, '').filter(({ path }) => path.split('.')[0] === key));
  const scalars = sections.filter((section) => section.length === 1).flat();
  const objects = sections.filter((section) => section.length > 1);
  return [
    section('Top level', '', scalars),
    ...objects.map(([head, ...rows]) => section(`\`${head?.path}\``, head?.description ?? '', rows)),
    ...credentialSections(schema),
  ].join('\n');
}

interface Row {
  readonly path: string;
  readonly value: string;
  readonly initial: string;
  readonly description: string;
}

function section(title: string, text: string, rows: readonly Row[]): string {
  return [`### ${title}\n`, ...(text === '' ? [] : [`${text}\n`]), table(rows)].join('\n');
}

function table(rows: readonly Row[]): string {
  const lines = rows.map((row) => `| \`${row.path}\` | ${row.value} | ${row.initial} | ${row.description} |`);
  return ['| key | value | default | description |', '| --- | --- | --- | --- |', ...lines, ''].join('\n');
}

/** Every key below a node, such as `upstreams.<name>.mirrors[].url`. Each kind of credentials has its own table. */
function rowsOf(node: SchemaNode, path: string): readonly Row[] {
  const prefix = path === '' ? '' : `${path}.`;
  const named = Object.keys(node.properties ?? {}).flatMap((key) => rowsUnder(node, key, `${prefix}${key}`));
  const free = rowsUnder(node, '<name>', `${prefix}<name>`);
  const item = childOf(node, 0);
  return [...named, ...free, ...(item?.type === 'object' ? rowsOf(item, `${path}[]`) : [])];
}

function rowsUnder(node: SchemaNode, key: string, path: string): readonly Row[] {
  const child = childOf(node, key);
  return child === undefined ? [] : [rowOf(child, path), ...rowsOf(child, path)];
}

function rowOf(node: SchemaNode, path: string): Row {
  return { path, value: valueOf(node), initial: initialOf(node), description: textOf(node) };
}

function credentialSections(schema: SchemaNode): readonly string[] {
  const entry = ['upstreams', '<name>', 'credentials', 0] as const;
  const node = entry.reduce<SchemaNode | undefined>((parent, step) => parent && childOf(parent, step), schema);
  return variantsOf(node ?? {}).map((kind) => {
    const word = childOf(kind, 'kind');
    return section(
      `An entry of \`credentials\`: \`${String(word?.const)}\``,
      word?.description ?? '',
      rowsOf(kind, '').slice(1),
    );
  });
}

function valueOf(node: SchemaNode): string {
  if (node.not !== undefined) return 'none yet';
  if (node.enum !== undefined) return node.enum.map((word) => `\`${JSON.stringify(word)}\``).join(', ');
  if (node.title !== undefined) return node.title;
  const item = childOf(node, 0);
  if (item !== undefined) return `list of ${variantsOf(item).length > 0 ? 'credentials' : valueOf(item)}`;
  return node.type === 'integer' ? 'whole number' : String(node.type);
}

function initialOf({ default: initial }: SchemaNode): string {
  return initial === undefined || JSON.stringify(initial) === '{}' ? '' : `\`${JSON.stringify(initial)}\``;
}

function textOf({ description }: SchemaNode): string {
  return (description ?? '').replaceAll('|', '\\|');
}
