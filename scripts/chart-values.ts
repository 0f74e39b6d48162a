import type { SchemaNode } from '../src/config/loading/json-schema.ts';

/** The schema of the chart's values: what is written there by hand, and the schema of the configuration under `config`. */
export function valuesSchema(values: { readonly properties: object }, schema: SchemaNode): object {
  const { $schema: _, ...config } = structuredClone(schema);
  for (const section of [config.properties?.['listen'], config.properties?.['management'], clusterListen(config)]) {
    const port = property(section, 'port');
    if (port !== undefined) Object.assign(port, { minimum: 1, description: 'Services and probes must know it.' });
  }
  return { ...values, properties: { ...values.properties, config } };
}

function clusterListen(config: SchemaNode): unknown {
  return property(config.properties?.['cluster'], 'listen');
}

function property(node: unknown, key: string): object | undefined {
  const properties: unknown = Object(node).properties;
  const found: unknown = Object(properties)[key];
  return typeof found === 'object' && found !== null ? found : undefined;
}
