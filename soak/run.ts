import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runLoad } from '../chaos/clients/load.ts';
import { Dice } from '../chaos/dice.ts';
import { Ledger } from '../chaos/ledger.ts';
import { mirrorConfig } from '../chaos/mirror-config.ts';
import { MirrorProcess } from '../chaos/mirror-process.ts';
import { stateOf } from '../chaos/process-state.ts';
import { settle } from '../chaos/settle.ts';
import { startUpstreams, type Upstream } from '../chaos/upstreams/upstreams.ts';
import { worldOf } from '../chaos/world.ts';
import { type Sample, trendsIn } from './limits.ts';
import { parseOptions, type SoakOptions } from './options.ts';
import { type SoakOutcome, writeReport } from './report.ts';
import { runStalledReaders } from './stalled-readers.ts';

// `npm run soak`: clients pull for a long time, and the mirror must not grow. Exits with 1 if it grows or fails.

const shape = { clients: 16, pinnedClients: 0, healthyClients: 0, pauseMs: 100 };
const stalledReaders = 4;
const sampleEveryMs = 5_000;
const warmUpShare = 0.25;

async function soak(options: SoakOptions, folder: string, upstreams: readonly Upstream[]): Promise<SoakOutcome> {
  const ledger = new Ledger();
  const world = worldOf(options.seed);
  const dice = new Dice(options.seed);
  const mirror = new MirrorProcess({ folder, dataFolder: join(folder, 'data'), config: mirrorConfig(upstreams) });
  await mirror.start();
  try {
    const fresh = await stateOf(mirror);
    const signal = AbortSignal.timeout(Math.round(options.minutes * 60_000));
    const deps = { world, mirror, dice, ledger, isPinnedSafe: () => false };
    const [samples] = await Promise.all([
      sample(mirror, signal),
      runLoad(deps, shape, signal),
      runStalledReaders(stalledReaders, deps, signal),
    ]);
    const warmUpSeconds = options.minutes * 60 * warmUpShare;
    const trends = trendsIn(samples.filter(({ atSeconds }) => atSeconds >= warmUpSeconds));
    for (const { name, growth, allowed, unit } of trends)
      if (growth > allowed) ledger.violate(`${name} grew by ${growth.toFixed(1)} ${unit}`);
    for (const [how, count] of ledger.lines('answers'))
      if (how !== 'right' && how !== 'the client left') ledger.violate(`${count} answers: ${how}`);
    const { state: settled, leaks } = await settle(mirror, fresh);
    for (const leak of leaks) ledger.violate(`left behind: ${leak}`);
    if ((await mirror.stop()) !== 0) ledger.violate('the mirror did not exit with 0');
    for (const line of (await mirror.bugs()).slice(0, 5)) ledger.violate(`its log reports a bug: ${line}`);
    return { options, ledger, warmUpSeconds, samples, trends, fresh, settled };
  } finally {
    await mirror.kill();
  }
}

async function sample(mirror: MirrorProcess, signal: AbortSignal): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  const startedAtMs = performance.now();
  while (!signal.aborted) {
    samples.push({ atSeconds: (performance.now() - startedAtMs) / 1_000, state: await stateOf(mirror) });
    await sleep(sampleEveryMs, undefined, { signal }).catch(() => {}); // The loop ends.
  }
  return samples;
}

async function main(options: SoakOptions): Promise<void> {
  process.stdout.write(`seed ${options.seed}\n`);
  await mkdir(options.workDirectory, { recursive: true });
  const folder = await mkdtemp(join(options.workDirectory, 'layerwell-soak-'));
  const upstreams = await startUpstreams({ seed: options.seed, onFault: () => {} });
  try {
    const outcome = await soak(options, folder, upstreams);
    await writeReport(outcome);
    process.exitCode = outcome.ledger.violations.length === 0 ? 0 : 1;
  } finally {
    await Promise.all(upstreams.map((upstream) => upstream.kill()));
  }
  if (process.exitCode === 0) await rm(folder, { recursive: true, force: true });
  else process.stderr.write(`seed ${options.seed}; the mirror's log is in ${folder}\n`);
}

await main(parseOptions(process.argv.slice(2), join(import.meta.dirname, '../docs/soak.md')));
