import { routes } from '../../src/http/management/api/routes.ts';
import { findRoute } from '../../src/http/management/api/route.ts';
import { problem } from '../../src/http/management/api/schemas.ts';
import { ask, type Question } from './client.ts';

export interface ApiAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Asks the management API. @throws when the answer is not what docs/openapi.json says of it. */
export async function askApi(
  { managementUrl }: { readonly managementUrl: string },
  path: string,
  { token, ...question }: Question & { readonly token?: string | undefined } = {},
): Promise<ApiAnswer> {
  const headers = { ...(token !== undefined && { authorization: `Bearer ${token}` }), ...question.headers };
  const answer = await ask({ url: managementUrl }, path, { ...question, headers });
  const body: unknown = JSON.parse(answer.body.toString());
  const type = answer.headers['content-type'];
  if (answer.status >= 400) {
    if (type !== 'application/problem+json') throw new Error(`a problem has the type ${type}`);
    const parsed = problem.parse(body);
    if (parsed.status !== answer.status) throw new Error('the status of the problem is not that of the answer');
    return { status: answer.status, headers: answer.headers, body: parsed };
  }
  const { route } = findRoute(routes, question.method ?? 'GET', new URL(path, managementUrl).pathname);
  if (type !== 'application/json' || answer.status !== route.status) throw new Error(`${answer.status} ${type}`);
  return { status: answer.status, headers: answer.headers, body: Object(route.answer.parse(body)) };
}
