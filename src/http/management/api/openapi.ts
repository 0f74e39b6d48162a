import { z } from 'zod';
import type { DescribedRoute } from './route.ts';
import { problem } from './schemas.ts';

type Json = Readonly<Record<string, unknown>>;

/** The OpenAPI 3.1 description of routes, from the schemas by which their requests are checked. Pure. */
export function openApi(routes: readonly DescribedRoute[]): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const one of routes) paths[one.path] = { ...paths[one.path], [one.method]: operationOf(one) };
  return {
    openapi: '3.1.1',
    info: {
      title: 'Layerwell management API',
      version: '1',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ token: [] }, {}],
    paths,
    components: { schemas: schemasOf(routes), securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
  };
}

function operationOf(route: DescribedRoute): Json {
  const { method, summary, status, answer, body, contentType = 'application/json', takes } = route;
  const takesBody = body !== undefined && !isEmpty(body);
  return {
    summary,
    operationId: operationIdOf(route),
    ...(method !== 'get' && { security: [{ token: [] }] }),
    parameters: [...parametersOf(route.pathParameters, 'path'), ...parametersOf(route.query, 'query')],
    ...(takes !== undefined && { requestBody: { required: true, content: { [takes]: { schema: {} } } } }),
    ...(takesBody && { requestBody: { required: true, content: { 'application/json': { schema: jsonOf(body) } } } }),
    responses: {
      [status]: { description: 'Done.', content: { [contentType]: { schema: referenceTo(answer) } } },
      default: {
        description: 'A problem (RFC 9457).',
        content: { 'application/problem+json': { schema: referenceTo(problem) } },
      },
    },
  };
}

/** `getStats`, `postReload`. */
function operationIdOf({ method, path }: DescribedRoute): string {
  const words = path
    .split('/')
    .slice(3)
    .map((part) => part.replaceAll(/\W/g, ''));
  return [method, ...words.map((word) => `${word.charAt(0).toUpperCase()}${word.slice(1)}`)].join('');
}

function parametersOf(
  schema: z.ZodObject<Readonly<Record<string, z.ZodType>>>,
  place: 'path' | 'query',
): readonly Json[] {
  return Object.entries(schema.shape).map(([name, field]) => {
    const { description, ...rest } = jsonOf(z.strictObject({ [name]: field })).properties?.[name] ?? {};
    const required = place === 'path' || !z.strictObject({ [name]: field }).safeParse({}).success;
    return { name, in: place, required, ...(description !== undefined && { description }), schema: rest };
  });
}

interface JsonSchema extends Json {
  readonly properties?: Readonly<Record<string, Json>>;
}

function jsonOf(schema: z.ZodType): JsonSchema {
  return bare(z.toJSONSchema(schema, { io: 'input', reused: 'inline' }));
}

function isEmpty(schema: z.ZodType): boolean {
  return schema.safeParse(undefined).success && Object.keys(jsonOf(schema).properties ?? {}).length === 0;
}

function referenceTo(schema: z.ZodType): Json {
  return { $ref: `#/components/schemas/${idOf(schema)}` };
}

function idOf(schema: z.ZodType): string {
  const id = z.globalRegistry.get(schema)?.id;
  if (id === undefined) throw new Error('a schema of an answer has no id');
  return id;
}

/** The schemas of answers, and those in them that have an id of their own. */
function schemasOf(routes: readonly DescribedRoute[]): Json {
  const named = z.registry<{ id: string }>();
  for (const { answer } of [...routes, { answer: problem }]) named.add(answer, { id: idOf(answer) });
  const { schemas } = z.toJSONSchema(named, { io: 'output', reused: 'inline' });
  return Object.fromEntries(Object.entries(schemas).map(([id, schema]) => [id, bare(schema)]));
}

/** Without what holds only for a document of its own. */
function bare(schema: object): Json {
  const { $schema: _, $id: __, ...rest }: Json = { ...schema };
  return rest;
}
