import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { childOf, keysOf, type SchemaNode, variantsOf } from '../../../src/config/loading/json-schema.ts';
import { configJsonSchema } from '../../../src/config/schema.ts';

const page = readFileSync(resolve(import.meta.dirname, '../../../docs/configuration.md'), 'utf8');

/** Every key of the schema, wherever it stands. */
function keysBelow(node: SchemaNode): readonly (readonly [key: string, node: SchemaNode])[] {
  const own = keysOf(node).flatMap((key) => {
    const child = childOf(node, key);
    return child === undefined ? [] : [[key, child] as const];
  });
  const nested = [...own.map(([, child]) => child), childOf(node, 0), childOf(node, '<name>'), ...variantsOf(node)];
  return [...own, ...nested.flatMap((child) => (child === undefined ? [] : keysBelow(child)))];
}

const keys = keysBelow(configJsonSchema());

test('every key of the configuration is on its page', () => {
  const named = new Set([...page.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code?.split('.').at(-1)));
  expect(keys.length).toBeGreaterThan(100);
  expect(keys.map(([key]) => key).filter((key) => !named.has(key))).toEqual([]);
});

test('every key has a description', () => {
  expect(keys.filter(([, { description }]) => (description ?? '') === '').map(([key]) => key)).toEqual([]);
});

test('the example on the page is a valid configuration', async () => {
  const { configOf } = await import('../../support/config.ts');
  const examples = [...page.matchAll(/```json\n(.*?)```/gs)].map(([, text]) => text);
  expect(examples.length).toBeGreaterThan(0);
  for (const text of examples) await configOf(text, { env: { DOCKERHUB_TOKEN: 't' }, files: {} });
});
