import { setTimeout as delay } from 'node:timers/promises';
import type { FakeRegistry } from '../../test/support/fake-registry.ts';
import { image } from '../../test/support/images.ts';
import { pullManifest } from '../clients/manifests.ts';
import { type Measured, metric } from './figures.ts';
import type { StartedMirror } from './mirror.ts';

const kills = 5;
/** How long it pulls before it is killed: long enough for a few saves of the index. */
const pulledForMs = 12_000;
const pulledAtOnce = 4;
const repository = 'app/crash';

interface Pulling {
  readonly registry: FakeRegistry;
  readonly signal: AbortSignal;
}

/**
 * Kills a mirror with a full store in the middle of cold pulls, again and again: how long the next process takes until its view is complete.
 * @param start starts the mirror so that pulls evict.
 */
export async function measureCrash(start: () => Promise<StartedMirror>, pulling: Pulling): Promise<Measured> {
  const listening: number[] = [];
  const complete: number[] = [];
  for (let kill = 0; kill <= kills; kill += 1) {
    const startedAtMs = performance.now();
    await using mirror = await start();
    if (kill > 0) {
      await untilComplete(mirror, pulling.signal);
      complete.push((performance.now() - startedAtMs) / 1_000);
      listening.push(mirror.readyAfterMs / 1_000);
    }
    if (kill < kills) await killDuringPulls(mirror, { ...pulling, name: `v${kill}` });
  }
  const what = `SIGKILL during cold pulls: until the view is complete, the longest of ${kills}, s`;
  return {
    bounds: [{ what, measured: Math.max(...complete), limit: 5 }],
    figures: [{ what: 'the same: until it listens, s', measured: Math.max(...listening) }],
  };
}

async function killDuringPulls(mirror: StartedMirror, pulling: Pulling & { readonly name: string }): Promise<void> {
  const { name, signal } = pulling;
  const pullers = Array.from({ length: pulledAtOnce }, (_, puller) =>
    pullOn(mirror, { ...pulling, name: `${name}-${puller}` }),
  );
  await Promise.race([...pullers, delay(pulledForMs, undefined, { signal })]);
  process.kill(mirror.pid, 'SIGKILL');
  await Promise.allSettled(pullers);
}

/** Pulls new images until the mirror is gone. @throws Error then. */
async function pullOn(
  { url }: StartedMirror,
  { registry, signal, name }: Pulling & { readonly name: string },
): Promise<never> {
  for (let pull = 0; ; pull += 1) {
    const tag = `${name}-${pull}`;
    const added = image({ name: tag, layers: 4, layerBytes: 60_000 });
    registry.content.add(repository, tag, added);
    await pullManifest(`${url}/v2/${repository}/manifests/${tag}`, signal);
    for (const { digest } of added.blobs) {
      const answer = await fetch(`${url}/v2/${repository}/blobs/${digest}`, { signal });
      await answer.arrayBuffer();
    }
  }
}

/** @throws Error if the index was rebuilt: what changed last was not known then. */
async function untilComplete({ managementUrl }: StartedMirror, signal: AbortSignal): Promise<void> {
  while ((await metric(managementUrl, /^layerwell_index_up (\S+)$/m)) !== 1) await delay(10, undefined, { signal });
  const rebuilds = await metric(managementUrl, /^layerwell_index_rebuilds_total (\S+)$/m);
  if (rebuilds !== 0) throw new Error('the index was rebuilt after a kill');
}
