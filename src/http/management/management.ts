import Router from '@koa/router';
import Koa from 'koa';
import type { Handler } from '../server/context.ts';
import type { Connections } from '../server/connections.ts';
import { type ApiDeps, managementApi } from './api/api.ts';
import { reportUnlessDisconnected } from '../middleware/errors.ts';
import type { ManagementPages } from './pages/pages.ts';
import { answerProblems, Problem } from './problems.ts';

/** The state that `/readyz` reports. Upstreams do not affect `isReady`: a mirror whose upstreams are down still serves. */
export interface Readiness {
  readonly isReady: boolean;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface ManagementDeps extends ApiDeps {
  /** Undefined where they are off. */
  readonly pages: ManagementPages | undefined;
  readonly readiness: () => Promise<Readiness>;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly connections: Pick<Connections, 'isSurplus'>;
  /** Called for each request that is refused because there are too many connections. */
  readonly onRefused: () => void;
}

/**
 * The management listener, never the registry's:
 *
 *     /healthz    the process is alive
 *     /readyz     it can take traffic
 *     /metrics    for Prometheus
 *     /api/v1/    the management API
 *     /           pages for people
 */
export function createManagementApp(deps: ManagementDeps): Koa {
  const { readiness, metrics, report, pages } = deps;
  const router = new Router();
  router.get('/healthz', (ctx) => {
    ctx.body = { status: 'ok' };
  });
  router.get('/readyz', async (ctx) => {
    const { isReady, body } = await readiness();
    ctx.status = isReady ? 200 : 503;
    ctx.body = body;
  });
  router.get('/metrics', async (ctx) => {
    const { contentType, text } = await metrics();
    ctx.set('Content-Type', contentType);
    ctx.body = text;
  });
  const app = new Koa();
  app.on('error', reportUnlessDisconnected(report));
  app.use(async (ctx, next) => {
    ctx.set('X-Content-Type-Options', 'nosniff');
    ctx.set('Cache-Control', 'no-store');
    await next();
  });
  app.use(refuseSurplus(deps));
  app.use(managementApi(deps));
  if (pages) app.use(pages.middleware());
  app.use(router.routes());
  app.use(router.allowedMethods());
  return app;
}

const probes: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

/** Above the limit of connections only probes are answered: a flood must not get the process restarted. */
function refuseSurplus({ connections, onRefused, report }: ManagementDeps): Handler {
  const problems = answerProblems(report);
  return (ctx, next) => {
    if (!connections.isSurplus(ctx.req.socket)) return next();
    ctx.set('Connection', 'close');
    if (probes.has(ctx.path)) return next();
    onRefused();
    return problems(ctx, async () => {
      throw new Problem('unavailable', 'too many connections', { headers: { 'Retry-After': '2' } });
    });
  };
}
