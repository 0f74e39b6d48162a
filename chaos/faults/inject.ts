import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Digest } from '../../src/oci/digest.ts';
import type { Dice } from '../dice.ts';
import type { Ledger } from '../ledger.ts';
import type { MirrorProcess } from '../mirror-process.ts';
import { type FaultKind, faultKinds } from '../upstreams/faults.ts';
import { noFaults } from '../upstreams/messages.ts';
import type { Upstream } from '../upstreams/upstreams.ts';
import { type Disk, damage } from './disk.ts';

export interface FaultDeps {
  readonly dice: Dice;
  readonly ledger: Ledger;
}

/** Waits for `ms`, or until the signal aborts. */
async function pass(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {}); // The caller checks the signal.
}

/** One upstream misbehaves, is killed and restarted, or is frozen. It is healthy again at the end. */
export async function failUpstream(upstream: Upstream, deps: FaultDeps, signal: AbortSignal): Promise<void> {
  const { ledger } = deps;
  const dice = deps.dice.of(upstream.name);
  while (!signal.aborted) {
    await pass(dice.between(500, 2_500), signal);
    const chance = dice.next();
    if (chance < 0.12) {
      ledger.count('faults', 'upstream killed');
      await upstream.kill();
      await pass(dice.between(500, 3_000), signal);
      await upstream.start();
    } else if (chance < 0.24) {
      ledger.count('faults', 'upstream frozen');
      upstream.freeze();
      await pass(dice.between(500, 3_000), signal);
      upstream.thaw();
    } else {
      upstream.setFaults({ kinds: someKinds(dice), rate: dice.between(0.15, 0.6) });
      await pass(dice.between(2_000, 6_000), signal);
      upstream.setFaults(noFaults);
    }
  }
  await upstream.recover();
}

function someKinds(dice: Dice): readonly FaultKind[] {
  return dice.isLucky(0.5) ? faultKinds : [dice.pick(faultKinds), dice.pick(faultKinds)];
}

/** The disk is filled, stays full for a while, and is freed. */
export async function fillDisk(disk: Disk, deps: FaultDeps, signal: AbortSignal): Promise<void> {
  const dice = deps.dice.of('room');
  while (disk.fill && !signal.aborted) {
    await pass(dice.between(4_000, 9_000), signal);
    if (signal.aborted) return;
    deps.ledger.count('faults', 'disk full');
    const full = new AbortController();
    const filling = disk.fill(full.signal);
    await pass(dice.between(1_000, 3_500), signal);
    full.abort();
    await filling;
  }
}

export interface FilesAtRisk {
  readonly dataFolder: string;
  /** Blobs that must not be damaged. */
  readonly spared: ReadonlySet<Digest>;
  /** Receives the digests of damaged blobs. */
  readonly damaged: Set<Digest>;
}

/** Damages files of the store while the mirror runs. */
export async function damageFiles(
  { dataFolder, spared, damaged }: FilesAtRisk,
  deps: FaultDeps,
  signal: AbortSignal,
): Promise<void> {
  const dice = deps.dice.of('files');
  while (!signal.aborted) {
    await pass(dice.between(400, 1_600), signal);
    const done = await damage(dataFolder, dice, (digest) => !spared.has(digest));
    if (done) deps.ledger.count('faults', `stored: ${done.what}`);
    if (done?.digest) damaged.add(done.digest);
  }
}

/** The mirror runs out of descriptors. */
export async function exhaustDescriptors(mirror: MirrorProcess, deps: FaultDeps, signal: AbortSignal): Promise<void> {
  const dice = deps.dice.of('descriptors');
  while (!signal.aborted) {
    await pass(dice.between(8_000, 16_000), signal);
    if (signal.aborted) return;
    deps.ledger.count('faults', 'no descriptors');
    await mirror.starve(AbortSignal.timeout(Math.round(dice.between(500, 2_500))));
  }
}

export interface KilledMirror {
  readonly mirror: MirrorProcess;
  /** Removes its index, if that is not in its folder. */
  readonly loseIndex?: (() => Promise<void>) | undefined;
}

async function removeIndex({ dataFolder }: MirrorProcess): Promise<void> {
  for (const end of ['', '-wal', '-shm']) await rm(join(dataFolder, `index.sqlite${end}`), { force: true });
}

/** The mirror is killed, sometimes loses its index, and is restarted. */
export async function killMirror(
  { mirror, loseIndex = () => removeIndex(mirror) }: KilledMirror,
  deps: FaultDeps,
  signal: AbortSignal,
): Promise<void> {
  const dice = deps.dice.of('mirror');
  while (!signal.aborted) {
    await pass(dice.between(4_000, 10_000), signal);
    if (signal.aborted) return;
    deps.ledger.count('faults', 'mirror killed');
    await mirror.kill();
    if (dice.isLucky(0.3)) {
      deps.ledger.count('faults', 'index lost');
      await loseIndex();
    }
    await mirror.start();
  }
}
