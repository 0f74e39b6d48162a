import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { z } from 'zod';
import { Problem } from '../problems.ts';

/** What a request says, before it is checked. */
export interface Asked {
  readonly path: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
  readonly headers: IncomingHttpHeaders;
  /** The request's body, of a route that `takes` one. */
  readonly incoming: Readable;
  /** Aborts when the client has left. */
  readonly signal: AbortSignal;
}

/** One method of one path, as its description tells of it. `{name}` in the path is one segment of it. */
export interface DescribedRoute {
  readonly method: 'get' | 'post' | 'delete';
  readonly path: string;
  readonly summary: string;
  readonly pathParameters: z.ZodObject;
  readonly query: z.ZodObject;
  /** Undefined if it takes none. */
  readonly body: z.ZodType | undefined;
  /** The type of a body that is read as it arrives, by the route itself. Absent: the body is JSON. */
  readonly takes?: string;
  readonly status: number;
  readonly answer: z.ZodType;
  /** Of the answer; JSON where absent. Anything else is a stream. */
  readonly contentType?: string;
}

/** One that can be asked. `Needs` is the part of the mirror that answers. */
export interface Route<Needs> extends DescribedRoute {
  /** @throws Problem. */
  readonly answerTo: (asked: Asked, needs: Needs) => Promise<unknown>;
}

interface RouteOf<
  Path extends z.ZodObject,
  Query extends z.ZodObject,
  Body extends z.ZodType,
  Answer extends z.ZodType,
  Needs,
> extends Omit<DescribedRoute, 'pathParameters' | 'query' | 'body' | 'answer' | 'status'> {
  readonly pathParameters: Path;
  readonly query: Query;
  readonly body: Body;
  readonly answer: Answer;
  readonly status?: number;
  readonly run: (
    asked: {
      readonly path: z.output<Path>;
      readonly query: z.output<Query>;
      readonly body: z.output<Body>;
      readonly headers: IncomingHttpHeaders;
      readonly incoming: Readable;
      readonly signal: AbortSignal;
    },
    needs: Needs,
  ) => Promise<z.input<Answer> | Readable>;
}

/** Makes a route that checks a request by the schemas that also describe it. */
export function route<
  Path extends z.ZodObject,
  Query extends z.ZodObject,
  Body extends z.ZodType,
  Answer extends z.ZodType,
  Needs,
>({ run, status = 200, ...described }: RouteOf<Path, Query, Body, Answer, Needs>): Route<Needs> {
  const { pathParameters, query, body } = described;
  return {
    ...described,
    status,
    answerTo: async (asked, needs) =>
      run(
        {
          path: checked(pathParameters, asked.path, 'the path'),
          query: checked(query, asked.query, 'the query'),
          body: checked(body, asked.body, 'the body'),
          headers: asked.headers,
          incoming: asked.incoming,
          signal: asked.signal,
        },
        needs,
      ),
  };
}

/** @throws Problem that lists what is wrong. */
export function checked<Schema extends z.ZodType>(schema: Schema, value: unknown, place: string): z.output<Schema> {
  const { data, error } = schema.safeParse(value);
  if (error === undefined) return data;
  const wrong = error.issues.map(({ path, message }) => (path.length > 0 ? `${path.join('.')}: ${message}` : message));
  throw new Problem('invalid-request', `${place} is invalid: ${wrong.join('; ')}`);
}

export interface FoundRoute<Found extends DescribedRoute> {
  readonly route: Found;
  readonly path: Readonly<Record<string, string>>;
}

/** @throws Problem when no route has this path, or none of those that have it this method. */
export function findRoute<Found extends DescribedRoute>(
  routes: readonly Found[],
  method: string,
  path: string,
): FoundRoute<Found> {
  const found = routes.flatMap((one) => {
    const parameters = parametersIn(one.path, path);
    return parameters === undefined ? [] : [{ route: one, path: parameters }];
  });
  if (found.length === 0) throw new Problem('unknown-path', 'the API has no such path');
  const wanted = method === 'HEAD' ? 'get' : method.toLowerCase();
  const match = found.find((one) => one.route.method === wanted);
  if (match !== undefined) return match;
  const allowed = found.map((one) => one.route.method.toUpperCase());
  const allow = [...allowed, ...(allowed.includes('GET') ? ['HEAD'] : [])].join(', ');
  throw new Problem('method-not-allowed', `the path has ${allow}`, { headers: { Allow: allow } });
}

/** The parameters in a path, decoded; undefined if it is not one of the template. Pure. */
function parametersIn(template: string, path: string): Readonly<Record<string, string>> | undefined {
  const [wanted, given] = [template.split('/'), path.split('/')];
  if (wanted.length !== given.length) return undefined;
  const parameters: Record<string, string> = {};
  for (const [place, part] of wanted.entries()) {
    const [, name] = /^\{(\w+)\}$/.exec(part) ?? [];
    const value = decoded(given[place] ?? '');
    if (value === undefined || (name === undefined ? value !== part : value === '')) return undefined;
    if (name !== undefined) parameters[name] = value;
  }
  return parameters;
}

function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}
