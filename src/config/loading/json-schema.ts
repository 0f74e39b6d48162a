import type { z } from 'zod';

export type SchemaNode = z.core.JSONSchema.BaseSchema;

/** The node under a key, an index, or any name where names are free. Of several kinds of object, the first that knows the key. */
export function childOf(node: SchemaNode, step: PropertyKey): SchemaNode | undefined {
  const known = typeof step === 'number' ? node.items : (node.properties?.[String(step)] ?? node.additionalProperties);
  return (
    nodeIn(known) ??
    variantsOf(node)
      .map((variant) => childOf(variant, step))
      .find((child) => child !== undefined)
  );
}

/** All keys an object may have; of several kinds of object, the keys of all. */
export function keysOf(node: SchemaNode): readonly string[] {
  return [...new Set([...Object.keys(node.properties ?? {}), ...variantsOf(node).flatMap(keysOf)])];
}

/** The kinds of object a node admits, if there are several. */
export function variantsOf(node: SchemaNode): readonly SchemaNode[] {
  return (node.oneOf ?? []).map(nodeIn).filter((variant) => variant !== undefined);
}

function nodeAt(schema: SchemaNode, path: readonly PropertyKey[]): SchemaNode | undefined {
  return path.reduce<SchemaNode | undefined>((node, step) => node && childOf(node, step), schema);
}

/** The keys of the object at `path`. */
export function knownKeysAt(schema: SchemaNode, path: readonly PropertyKey[]): readonly string[] {
  const node = nodeAt(schema, path);
  return node === undefined ? [] : keysOf(node);
}

/** The kinds of object that the key `kind` at `path` may name, in quotes. */
export function kindsAt(schema: SchemaNode, path: readonly PropertyKey[]): readonly string[] {
  const node = nodeAt(schema, path.slice(0, -1));
  return node === undefined ? [] : variantsOf(node).map((variant) => `"${String(childOf(variant, 'kind')?.const)}"`);
}

function nodeIn(value: SchemaNode['items']): SchemaNode | undefined {
  return typeof value === 'object' && !Array.isArray(value) ? value : undefined;
}
