import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { isJsonObject } from '../../../src/oci/json.ts';

const root = resolve(import.meta.dirname, '../../..');

/** Keys that are used by another name, or while the configuration is loaded. */
const elsewhere: ReadonlyMap<string, string> = new Map([
  ['$schema', 'for editors'],
  ['allowAnonymous', 'checked when the file is loaded'],
  ['scrubRate', 'scrubBytesPerSecond'],
]);

function keysIn(schema: unknown): readonly string[] {
  if (Array.isArray(schema)) return schema.flatMap(keysIn);
  if (!isJsonObject(schema)) return [];
  const own = isJsonObject(schema['properties']) ? Object.keys(schema['properties']) : [];
  return [...own, ...Object.values(schema).flatMap(keysIn)];
}

test('every key of the configuration is used by a part of the mirror', () => {
  const keys = new Set(keysIn(JSON.parse(readFileSync(join(root, 'mirror.config.schema.json'), 'utf8'))));
  const files = globSync('src/**/*.ts', { cwd: root }).filter((file) => !file.startsWith('src/config/'));
  const words = new Set(files.flatMap((file) => readFileSync(join(root, file), 'utf8').match(/\w+/g) ?? []));
  const isUsed = (key: string) =>
    [key, `${key}Ms`, `${key}Bytes`, elsewhere.get(key)].some((one) => words.has(one ?? ''));
  const unused = [...keys].filter((key) => !isUsed(key) && !elsewhere.has(key));
  expect(keys.size).toBeGreaterThan(100);
  expect(unused).toEqual([]);
});
