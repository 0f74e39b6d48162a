import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { Handler, HttpContext } from '../../server/context.ts';
import { guard, type GuardDeps } from '../guard.ts';
import { maxArriving, maxRunning, readJsonBody, RequestLimit, requireType } from '../request-body.ts';
import { answerProblems, hasBody, Problem } from '../problems.ts';
import { findRoute } from './route.ts';
import { type Administration, routes } from './routes.ts';

export interface ApiDeps extends GuardDeps {
  readonly administration: Administration;
  readonly report: (bug: unknown) => void;
  /** How often whoever follows a stream is checked again; for tests. */
  readonly recheckMs?: number | undefined;
}

const place = '/api/';
const usuallyRecheckMs = 15_000;

/** Answers the requests below `/api/`, and lets all others pass. */
export function managementApi(deps: ApiDeps): Handler {
  const [problems, guarded] = [answerProblems(deps.report), guard(deps)];
  const limits = { arriving: new RequestLimit(maxArriving), running: new RequestLimit(maxRunning) };
  const answered = async (ctx: HttpContext) => {
    const value = await answer(ctx, limits, deps.administration);
    if (!(value instanceof Readable)) return;
    stream(ctx, value);
    recheck(value, async () => guarded(ctx, async () => {}), deps);
  };
  return (ctx, next) => (ctx.path.startsWith(place) ? problems(ctx, () => guarded(ctx, () => answered(ctx))) : next());
}

type Limits = Readonly<Record<'arriving' | 'running', RequestLimit>>;

/** A body that does not arrive keeps no other request waiting. */
async function answer(
  ctx: HttpContext,
  { arriving, running }: Limits,
  administration: Administration,
): Promise<unknown> {
  const { route, path } = findRoute(routes, ctx.method, ctx.path);
  const query = Object.fromEntries(new URLSearchParams(ctx.querystring));
  const hasJson = route.takes === undefined && hasBody(ctx.req.headers);
  if (route.takes !== undefined) requireType(ctx.req, route.takes);
  const body = hasJson ? await arriving.run(() => readJsonBody(ctx.req)) : undefined;
  const signal = leavingOf(ctx.res);
  const asked = { path, query, body, headers: ctx.req.headers, incoming: ctx.req, signal };
  const value = await running.run(() => route.answerTo(asked, administration));
  ctx.status = route.status;
  ctx.body = value instanceof Readable ? value : JSON.stringify(value); // A stream is destroyed when the client leaves.
  ctx.set('Content-Type', route.contentType ?? 'application/json');
  return value;
}

/** A stream that is destroyed cuts the answer. */
function stream(ctx: HttpContext, body: Readable): void {
  ctx.set('X-Accel-Buffering', 'no');
  body.once('close', () => {
    if (!body.readableEnded) ctx.res.destroy();
  });
}

/** Ends a stream whose token has been replaced: a request of its own would be refused now. */
function recheck(
  body: Readable,
  check: () => Promise<unknown>,
  { recheckMs = usuallyRecheckMs }: Pick<ApiDeps, 'recheckMs'>,
): void {
  const refused = (cause: unknown) => {
    if (cause instanceof Problem && cause.kind === 'token-refused') body.destroy();
  };
  const timer = setInterval(() => void check().catch(refused), recheckMs).unref();
  body.once('close', () => clearInterval(timer));
}

/** Aborts when the client leaves before its answer has ended. */
function leavingOf(response: ServerResponse): AbortSignal {
  const leaving = new AbortController();
  response.once('close', () => leaving.abort(new Error('the client has left')));
  return leaving.signal;
}
