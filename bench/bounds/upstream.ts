import { FakeRegistry } from '../../test/support/fake-registry.ts';
import type { Contender, Site } from '../contenders/contender.ts';
import { startLayerwell } from '../contenders/layerwell.ts';
import { freePort } from '../server-process.ts';

/** A registry in this process, with a Layerwell in front of it. It must be disposed. */
export interface PairOfServers extends AsyncDisposable {
  readonly registry: FakeRegistry;
  readonly layerwell: Contender;
}

/** @param config sections that replace those of Layerwell's default configuration. */
export async function startPair(site: Site, config: object): Promise<PairOfServers> {
  await using servers = new AsyncDisposableStack();
  const registry = new FakeRegistry(await freePort(), {});
  await registry.start();
  servers.defer(() => registry.stop());
  const layerwell = servers.use(await startLayerwell(site, registry.url, { config }));
  const running = servers.move();
  return { registry, layerwell, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
