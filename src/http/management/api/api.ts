import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { Context, Middleware } from 'koa';
import { guard, type GuardDeps } from '../guard.ts';
import { readJsonBody } from '../request-body.ts';
import { answerProblems, Problem } from '../problems.ts';
import { findRoute } from './route.ts';
import { type Administration, routes } from './routes.ts';

export interface ApiDeps extends GuardDeps {
  readonly administration: Administration;
  readonly report: (bug: unknown) => void;
}

const place = '/api/';
/** Requests that run at the same time; every one of them is small. */
const maxRunning = 32;

/** Answers the requests below `/api/`, and lets all others pass. */
export function managementApi(deps: ApiDeps): Middleware {
  const [problems, guarded] = [answerProblems(deps.report), guard(deps)];
  let running = 0;
  const limited = async (ctx: Context): Promise<void> => {
    if (running >= maxRunning) throw new Problem('unavailable', 'too many requests run', { headers: retrySoon });
    running += 1;
    try {
      await answer(ctx, deps.administration);
    } finally {
      running -= 1;
    }
  };
  return (ctx, next) => (ctx.path.startsWith(place) ? problems(ctx, () => guarded(ctx, () => limited(ctx))) : next());
}

const retrySoon = { 'Retry-After': '1' };

async function answer(ctx: Context, administration: Administration): Promise<void> {
  const { route, path } = findRoute(routes, ctx.method, ctx.path);
  const query = Object.fromEntries(new URLSearchParams(ctx.querystring));
  const body = await readJsonBody(ctx.req);
  const signal = leavingOf(ctx.res);
  const value = await route.answerTo({ path, query, body, headers: ctx.req.headers, signal }, administration);
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
