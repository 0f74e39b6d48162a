import Router from '@koa/router';
import Koa from 'koa';
import { type ApiDeps, managementApi } from './api/api.ts';
import { reportUnlessDisconnected } from '../middleware/errors.ts';
import type { ManagementPages } from './pages/pages.ts';

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
  app.use(managementApi(deps));
  if (pages) app.use(pages.middleware());
  app.use(router.routes());
  app.use(router.allowedMethods());
  return app;
}
