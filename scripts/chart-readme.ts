import { isAlias, isMap, isScalar, type Pair, parseDocument, type YAMLMap } from 'yaml';

/**
 * The table of a chart's values, from the comments of its values.yaml by helm-docs' convention: `# --` begins a description, which goes on in the
 * comments below it; `# @default --` names a default that is too long to show. A map with a description is one row, unless keys in it have their own.
 */
export function valuesReference(yaml: string): string {
  const { contents } = parseDocument(yaml);
  if (!isMap(contents)) throw new Error('values.yaml holds no map');
  const rows = rowsOf(contents, '');
  return ['| key | type | default | description |', '| --- | --- | --- | --- |', ...rows, ''].join('\n');
}

function rowsOf(map: YAMLMap, prefix: string): readonly string[] {
  return map.items.flatMap((pair, i) => {
    // The comment above the first key belongs to the map.
    const comment = i === 0 ? (map.commentBefore ?? commentOf(pair.key)) : commentOf(pair.key);
    return rowsOfKey(pair, `${prefix}${keyOf(pair)}`, comment ?? '');
  });
}

function rowsOfKey(pair: Pair, path: string, comment: string): readonly string[] {
  const { value } = pair;
  const { description, initial } = described(comment);
  const below = isMap(value) ? rowsOf(value, `${path}.`) : [];
  const row = `| \`${path}\` | ${typeOf(value)} | ${initial ?? shown(value)} | ${description.replaceAll('|', '\\|')} |`;
  if (!isMap(value) || value.items.length === 0) return [row];
  if (description === '') return below;
  return [row, ...below.filter((each) => !each.endsWith('|  |'))];
}

function described(comment: string): { readonly description: string; readonly initial: string | undefined } {
  const lines = comment.split('\n').map((line) => line.trim());
  const start = lines.findLastIndex((line) => line.startsWith('-- '));
  if (start === -1) return { description: '', initial: undefined };
  const text = lines.slice(start).filter((line) => !line.startsWith('@default -- '));
  const initial = lines.slice(start).find((line) => line.startsWith('@default -- '));
  return { description: text.join(' ').slice('-- '.length), initial: initial?.slice('@default -- '.length) };
}

function keyOf({ key }: Pair): string {
  return isScalar(key) ? String(key.value) : String(key);
}

function commentOf(key: unknown): string | undefined {
  return isScalar(key) ? (key.commentBefore ?? undefined) : undefined;
}

function typeOf(value: unknown): string {
  const plain = plainOf(value);
  if (plain === null) return '';
  if (Array.isArray(plain)) return 'list';
  if (typeof plain === 'number') return 'int';
  return typeof plain === 'boolean' ? 'bool' : typeof plain;
}

function shown(value: unknown): string {
  return `\`${JSON.stringify(plainOf(value)).replaceAll('|', '\\|')}\``;
}

function plainOf(value: unknown): unknown {
  if (isAlias(value)) return {};
  return value !== null && typeof value === 'object' && 'toJSON' in value && typeof value.toJSON === 'function'
    ? value.toJSON()
    : value;
}
