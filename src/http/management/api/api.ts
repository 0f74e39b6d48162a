import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { Context, Middleware } from 'koa';
import { guard, type GuardDeps } from '../guard.ts';
import { maxArriving, maxRunning, readJsonBody, RequestLimit } from '../request-body.ts';
import { answerProblems, hasBody } from '../problems.ts';
import { findRoute } from './route.ts';
import { type Administration, routes } from './routes.ts';

export interface ApiDeps extends GuardDeps {
  readonly administration: Administration;
  readonly report: (bug: unknown) => void;
}

const place = '/api/';

/** Answers the requests below `/api/`, and lets all others pass. */
export function managementApi(deps: ApiDeps): Middleware {
  const [problems, guarded] = [answerProblems(deps.report), guard(deps)];
  const limits = { arriving: new RequestLimit(maxArriving), running: new RequestLimit(maxRunning) };
  const answered = (ctx: Context) => answer(ctx, limits, deps.administration);
  return (ctx, next) => (ctx.path.startsWith(place) ? problems(ctx, () => guarded(ctx, () => answered(ctx))) : next());
}

type Limits = Readonly<Record<'arriving' | 'running', RequestLimit>>;

/** A body that does not arrive keeps no other request waiting. */
async function answer(ctx: Context, { arriving, running }: Limits, administration: Administration): Promise<void> {
  const { route, path } = findRoute(routes, ctx.method, ctx.path);
  const query = Object.fromEntries(new URLSearchParams(ctx.querystring));
  const body = hasBody(ctx.req.headers) ? await arriving.run(() => readJsonBody(ctx.req)) : undefined;
  const signal = leavingOf(ctx.res);
  const asked = { path, query, body, headers: ctx.req.headers, signal };
  const value = await running.run(() => route.answerTo(asked, administration));
  ctx.status = route.status;
  if (value instanceof Readable) stream(ctx, value);
  else ctx.body = JSON.stringify(value);
  ctx.set('Content-Type', route.contentType ?? 'application/json');
}

/** A stream that is destroyed cuts the answer. */
function stream(ctx: Context, body: Readable): void {
  ctx.body = body; // Destroyed when the client leaves.
  ctx.set('X-Accel-Buffering', 'no');
  body.once('close', () => {
    if (!body.readableEnded) ctx.res.destroy();
  });
}

/** Aborts when the client leaves before its answer has ended. */
function leavingOf(response: ServerResponse): AbortSignal {
  const leaving = new AbortController();
  response.once('close', () => leaving.abort(new Error('the client has left')));
  return leaving.signal;
}
