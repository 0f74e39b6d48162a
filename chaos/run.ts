import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Digest } from '../src/oci/digest.ts';
import { breakTransfer } from './broken-transfer.ts';
import { type Cluster, type ClusterPlan, prepareCluster } from './cluster/cluster.ts';
import { failCluster } from './cluster/cluster-faults.ts';
import { Dice } from './dice.ts';
import { type LoadDeps, pullEach, runLoad } from './clients/load.ts';
import { runRealClients } from './clients/real-clients.ts';
import { runCramped, startCramped } from './hostile/cramped-mirror.ts';
import { runHostileClients } from './hostile/hostile-clients.ts';
import { startHostile } from './hostile/hostile-registries.ts';
import { Ledger } from './ledger.ts';
import { diskBytes, maxCacheBytes, mirrorConfig } from './mirror-config.ts';
import { MirrorProcess } from './mirror-process.ts';
import { type ChaosOptions, parseOptions } from './options.ts';
import { type ProcessState, stateOf } from './process-state.ts';
import { type Figures, writeReport } from './report.ts';
import { isFlat, settle } from './settle.ts';
import { bytesBelow, wrongBlobs } from './store-check.ts';
import { type Disk, prepareDisk } from './faults/disk.ts';
import { exhaustDescriptors, damageFiles, killMirror, fillDisk, failUpstream } from './faults/inject.ts';
import { startUpstreams, type Upstream } from './upstreams/upstreams.ts';
import { healthyName, type PublishedImage, upstreamNames, worldOf } from './world.ts';

// `npm run chaos`: clients pull while everything that can fail does. Exits with 1 if a promise was broken.

const shape = { clients: 20, pinnedClients: 4, healthyClients: 4, pauseMs: 60 };
/** For each replica, where there are several. */
const replicaShape = { clients: 6, pinnedClients: 2, healthyClients: 2, pauseMs: 120 };
/** A replica that waits for one that is frozen goes on after 5 s. */
const healthyWithinMs = 12_000;
/** The share of the time of faults in which the mirror is killed too. */
const killedShare = 0.55;
const healsWithinMs = 150_000;
/** What the store may use while it evicts: its bound plus the bytes that arrive meanwhile. */
const toleratedBytes = maxCacheBytes + 8 * 1024 * 1024;
const least = { minutes: 4, pulls: 10_000, faults: 2_000 };
/** Until replicas know each other, and are connected. */
const meetWithinMs = 6_000;
const leastOfReplicas = { pulls: 5_000, faults: 500 };

interface Scene extends LoadDeps {
  readonly options: ChaosOptions;
  readonly folder: string;
  readonly disk: Disk;
  readonly upstreams: readonly Upstream[];
  /** A second mirror, whose store has no room. */
  readonly cramped: MirrorProcess;
  readonly damaged: Set<Digest>;
  /** Undefined: one mirror alone. */
  readonly cluster: Cluster | undefined;
}

/** The mirrors that the cluster has besides the first one. */
function othersIn({ cluster }: Pick<Scene, 'cluster'>): readonly MirrorProcess[] {
  return cluster?.members.slice(1).map(({ mirror }) => mirror) ?? [];
}

async function chaos(scene: Scene, markSafe: () => void): Promise<Figures> {
  const { mirror, world, ledger, options, upstreams } = scene;
  const brokenTransfer = await breakTransfer({ ...scene, seed: options.seed, dice: scene.dice.of('broken transfer') });
  const others = othersIn(scene);
  await Promise.all([mirror, ...others].map((one) => one.start()));
  const cachedFirst = world.filter(({ kind }) => kind !== 'ordinary');
  const missing = await pullEach(scene, cachedFirst);
  for (const other of others) missing.push(...(await pullEach({ ...scene, mirror: other }, cachedFirst)));
  if (missing.length > 0) ledger.violate(`${missing.length} images could not be pulled before anything went wrong`);
  await sleep(2_000); // Until the records and the index are written.
  markSafe();

  const faultyMs = options.minutes * 60_000;
  const realClients = await injectFaults(scene, faultyMs * killedShare, { isMirrorKilled: true });
  await Promise.all([mirror, ...others].map((one) => one.kill()));
  await Promise.all([mirror, ...others].map((one) => one.start()));
  if (others.length > 0) await sleep(meetWithinMs);
  const fresh = await stateOf(mirror);
  const freshOthers = await Promise.all(others.map(stateOf));
  const samples: ProcessState[] = [];
  const sampling = new AbortController();
  const sampled = sample(scene, samples, sampling.signal);
  await injectFaults(scene, faultyMs * (1 - killedShare), { isMirrorKilled: false });
  sampling.abort();
  await sampled;
  await Promise.all(upstreams.map((upstream) => upstream.recover()));
  const healedAfterSeconds = await heal(scene);
  const [{ state: settled, leaks }, ...settledOthers] = await Promise.all([
    settle(mirror, fresh),
    ...others.map((other, index) => settle(other, freshOthers[index] ?? fresh)),
  ]);
  for (const leak of leaks) ledger.violate(`left behind: ${leak}`);
  for (const [index, other] of settledOthers.entries()) {
    for (const leak of other.leaks) ledger.violate(`left behind by replica ${index + 2}: ${leak}`);
  }
  if (!isFlat(samples)) ledger.violate('its memory kept growing to the end');
  return { realClients, fresh, settled, samples, healedAfterSeconds, brokenTransfer };
}

/** Runs clients and faults at the same time. */
async function injectFaults(
  scene: Scene,
  forMs: number,
  { isMirrorKilled }: { readonly isMirrorKilled: boolean },
): Promise<readonly string[]> {
  const { disk, upstreams, mirror, world, damaged } = scene;
  const part = isMirrorKilled ? 'first part' : 'second part';
  const deps = { ...scene, dice: scene.dice.of(part) };
  const signal = AbortSignal.timeout(Math.round(forMs));
  const spared = digestsIn(world.filter(({ kind }) => kind === 'pinned' || kind === 'real' || kind === 'healthy'));
  const [realClients] = await Promise.all([
    runRealClients({ ...deps, folder: join(scene.folder, 'clients') }, signal),
    runLoad(deps, scene.cluster ? replicaShape : shape, signal),
    ...othersIn(scene).map((other, index) =>
      runLoad({ ...deps, mirror: other, dice: deps.dice.of(`replica ${index + 2}`) }, replicaShape, signal),
    ),
    ...(scene.cluster ? [failCluster(scene.cluster, deps, { mayKill: isMirrorKilled, signal })] : []),
    ...upstreams.filter(({ name }) => name !== healthyName).map((upstream) => failUpstream(upstream, deps, signal)),
    runHostileClients(deps, signal),
    runCramped(scene.cramped, deps, signal),
    fillDisk(disk, deps, signal),
    damageFiles({ dataFolder: disk.dataFolder, spared, damaged }, deps, signal),
    exhaustDescriptors(mirror, deps, signal),
    ...(isMirrorKilled ? [killMirror({ mirror, loseIndex: scene.cluster?.loseIndex }, deps, signal)] : []),
  ]);
  return realClients;
}

function digestsIn(images: readonly PublishedImage[]): ReadonlySet<Digest> {
  const parts = images.flatMap(({ image }) => [image.manifest, ...image.blobs]);
  return new Set(parts.map(({ digest }) => digest));
}

async function sample(scene: Scene, samples: ProcessState[], signal: AbortSignal): Promise<void> {
  const { mirror, ledger } = scene;
  const others = othersIn(scene);
  while (!signal.aborted) {
    const state = await stateOf(mirror).catch(() => undefined); // Without descriptors it does not answer.
    if (state) samples.push(state);
    for (const { dataFolder } of [mirror, ...others]) {
      const diskBytes = await bytesBelow(dataFolder);
      if (diskBytes > maxCacheBytes) ledger.count('beyond the bound', `${Math.ceil(diskBytes / 1024 / 1024)} MiB`);
      if (diskBytes > toleratedBytes) ledger.violate(`the store in ${dataFolder} uses ${diskBytes} bytes of the disk`);
    }
    await sleep(1_000, undefined, { signal }).catch(() => {}); // The loop ends.
  }
}

/** Pulls every image after the faults have ended, from every mirror. @returns the seconds until all pulls succeed; undefined if some do not. */
async function heal(scene: Scene): Promise<number | undefined> {
  const startedAtMs = performance.now();
  for (const mirror of [scene.mirror, ...othersIn(scene)]) {
    let missing = scene.world;
    while (missing.length > 0 && performance.now() - startedAtMs < healsWithinMs) {
      missing = await pullEach({ ...scene, mirror }, missing);
      if (missing.length > 0) await sleep(1_000);
    }
    if (missing.length === 0) continue;
    const names = missing.slice(0, 5).map(({ upstream, repository, tag }) => `${upstream}/${repository}:${tag}`);
    scene.ledger.violate(`${missing.length} images cannot be pulled although the faults have ended: ${names.join()}`);
    return undefined;
  }
  return (performance.now() - startedAtMs) / 1_000;
}

async function checkTheEnd(scene: Scene): Promise<void> {
  const { mirror, cramped, ledger, options, damaged } = scene;
  const others = othersIn(scene).map((other, index) => [`replica ${index + 2}`, other] as const);
  for (const [name, process] of [...Object.entries({ mirror, cramped }), ...others]) {
    const exitCode = await process.stop();
    if (exitCode !== 0) ledger.violate(`the process of ${name} ended with ${exitCode}`);
    for (const line of (await process.bugs()).slice(0, 5))
      ledger.violate(`the log of ${name} reports a bug: ${line.slice(0, 1_000)}`);
  }
  const wrong = await wrongBlobs(mirror.dataFolder, (digest) => damaged.has(digest));
  for (const [, other] of others) wrong.push(...(await wrongBlobs(other.dataFolder, () => false)));
  if (wrong.length > 0) ledger.violate(`wrong blobs in the store: ${wrong.join()}`);
  if (options.minutes < least.minutes) return;
  const wanted = others.length > 0 ? leastOfReplicas : least;
  for (const what of ['pulls', 'faults'] as const) {
    if (ledger.total(what) < wanted[what])
      ledger.violate(`only ${ledger.total(what)} ${what}: too few to prove anything`);
  }
}

/** The healthy registry is never cut off: its clients must be served whatever happens to the links to the others. */
function clusterFor(
  { seed, replicas }: ChaosOptions,
  given: Omit<ClusterPlan, 'replicas' | 'linked' | 'dice'>,
): Promise<Cluster> {
  const linked = new Set<string>(upstreamNames.filter((name) => name !== healthyName));
  return prepareCluster({ ...given, replicas, linked, dice: new Dice(seed) });
}

/** One complete run, with its report. */
async function run(options: ChaosOptions, folder: string): Promise<Ledger> {
  const ledger = new Ledger();
  const onFault = (kind: string): void => ledger.count('faults', `upstream: ${kind}`);
  await using disk = await prepareDisk(folder, diskBytes);
  const upstreams = await startUpstreams({ seed: options.seed, onFault });
  await using hostile = await startHostile({ seed: options.seed, onFault: (what) => ledger.count('faults', what) });
  const registries = [...upstreams, ...hostile.registries];
  const place = { folder, dataFolder: disk.dataFolder };
  await using cluster = options.replicas > 1 ? await clusterFor(options, { ...place, registries, ledger }) : undefined;
  const mirror = cluster?.members[0]?.mirror ?? new MirrorProcess({ ...place, config: mirrorConfig(registries) });
  const cramped = await startCramped(join(folder, 'cramped'), registries);
  let isSafe = false;
  const scene: Scene = {
    options,
    folder,
    disk,
    upstreams,
    mirror,
    cramped,
    ledger,
    world: worldOf(options.seed),
    dice: new Dice(options.seed),
    damaged: new Set(),
    cluster,
    ...(cluster && { healthyWithinMs }),
    isPinnedSafe: () => isSafe,
  };
  try {
    const figures = await chaos(scene, () => {
      isSafe = true;
    });
    await checkTheEnd(scene);
    await writeReport({ options, ledger, figures, disk, hasBucket: cluster?.bucket !== undefined });
  } catch (cause) {
    ledger.violate(`the run failed: ${cause instanceof Error ? cause.stack : String(cause)}`);
  } finally {
    await Promise.all([mirror, cramped, ...othersIn(scene)].map((one) => one.kill()));
    await Promise.all(upstreams.map((upstream) => upstream.kill()));
  }
  return ledger;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
const options = parseOptions(process.argv.slice(2), join(import.meta.dirname, '../docs/chaos.md'));
process.stdout.write(`seed ${options.seed}\n`);
await mkdir(options.workDirectory, { recursive: true });
const folder = await mkdtemp(join(options.workDirectory, 'layerwell-chaos-'));
const { violations } = await run(options, folder);
if (violations.length === 0) await rm(folder, { recursive: true, force: true });
else process.stderr.write(`${violations.length} violations; seed ${options.seed}; the mirror's log is in ${folder}\n`);
process.exitCode = violations.length === 0 ? 0 : 1;
