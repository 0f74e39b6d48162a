import { mkdir } from 'node:fs/promises';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { makeCertificateFiles } from '../../test/support/certificate-files.ts';
import { type LoadDeps, runHealthyLoad } from '../clients/load.ts';
import { crampedConfig, type NamedRegistry } from '../mirror-config.ts';
import { MirrorProcess } from '../mirror-process.ts';
import { runSilentConnections } from './hostile-clients.ts';

const shape = { healthyClients: 3, pauseMs: 100 };

/** A mirror with TLS whose store has no room. It must be killed. */
export async function startCramped(folder: string, registries: readonly NamedRegistry[]): Promise<MirrorProcess> {
  await mkdir(folder);
  const tls = await makeCertificateFiles(folder, 'mirror.test');
  const config = crampedConfig(registries);
  const mirror = new MirrorProcess({ folder, dataFolder: join(folder, 'data'), config, tls });
  await mirror.start();
  return mirror;
}

/** Runs clients of the cramped mirror, and connections without a TLS handshake, until the signal aborts. */
export async function runCramped(mirror: MirrorProcess, deps: LoadDeps, signal: AbortSignal): Promise<void> {
  const agent = new Agent({ keepAlive: true, rejectUnauthorized: false });
  const ours = { ...deps, mirror, dice: deps.dice.of('cramped') };
  await Promise.all([runHealthyLoad(ours, shape, { agent, signal }), runSilentConnections(ours, signal)]);
  agent.destroy();
}
