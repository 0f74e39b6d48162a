import type { RunningApp } from './start-app.ts';

/** What the metrics say of an upstream's registry; undefined where its circuit never opened. */
export async function circuitState(app: RunningApp, upstream = 'docker.io'): Promise<string | undefined> {
  const metrics = await app.metrics();
  const states = ['open', 'half-open', 'closed'];
  return states.find((state) => metrics.sum('layerwell_upstream_circuit_state', { upstream, state }) === 1);
}

/** Resolves when it is so: an upstream is asked whether it is there beside the pulls. */
export async function circuitIs(app: RunningApp, state: string, upstream?: string): Promise<void> {
  while ((await circuitState(app, upstream)) !== state);
}
