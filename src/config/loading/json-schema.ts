import { z } from 'zod';
import { configFile } from '../schema.ts';

export type SchemaNode = z.core.JSONSchema.BaseSchema;

/** The JSON Schema of the file as an operator writes it, with every default and description. */
export function configJsonSchema(): SchemaNode {
  return z.toJSONSchema(configFile, { io: 'input' });
}

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

function nodeIn(value: SchemaNode['items']): SchemaNode | undefined {
  return typeof value === 'object' && !Array.isArray(value) ? value : undefined;
}
