import { appendFile, mkdir } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { SqliteIndex } from '../../src/index/sqlite/sqlite-index.ts';
import { nodeFiles } from '../../src/storage/filesystem/file-system.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { blobsIn } from '../support/files-in.ts';
import { image } from '../support/images.ts';
import { differences } from '../support/index-and-disk.ts';
import { type LargeStore, storedImage, writeLargeStore } from '../support/large-store.ts';
import { type Dice, dice, PowerLossDisk } from '../support/power-loss-disk.ts';
import { type IndexBytes, PowerLossIndex, writeIndex } from '../support/power-loss-index.ts';
import { pullAll } from '../support/pull.ts';
import { RunningApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

/** `npm run crash:forgetful` asks for more, with a larger store, and for the figures. */
const losses = Number(process.env['FORGETFUL_LOSSES'] ?? 2);
const blobs = Number(process.env['FORGETFUL_BLOBS'] ?? 300);
const report = process.env['FORGETFUL_REPORT'];
const first = Number(process.env['FORGETFUL_FIRST'] ?? 0);
/** After which the view is to be complete. A machine that is busy takes its time; the report says how long it took. */
const completeWithinMs = Number(process.env['FORGETFUL_COMPLETE_MS'] ?? 20_000);

const repository = 'library/app';
const layers = 9;
const images = Math.round(blobs / (layers + 1));
const store: LargeStore = { images, layers, repositories: Math.ceil(images / 10) };
/** So many bytes, in whole blocks, that every pull into the filled store evicts. */
const storage = { maxSize: `${Math.round((blobs * 2.1 * 4096) / 1024)}KiB`, minFree: '0B' };
/** Of the disk, before the power fails: up to a dozen turns of pulls. */
const maxOperations = 6_000;

interface Left {
  readonly disk: PowerLossDisk;
  readonly index: IndexBytes;
}

/** A mirror whose store is on a disk that forgets what was not synced, in memory. Its index, on a real one, forgets too. */
class Machine {
  readonly path: string;
  readonly #config: MirrorConfig;
  readonly #index: PowerLossIndex;
  #disk = new PowerLossDisk();

  constructor(path: string, config: MirrorConfig) {
    this.path = path;
    this.#config = config;
    this.#index = new PowerLossIndex(join(path, 'index.sqlite'));
    const files = this.#index.over({ ...nodeFiles }, () => this.#disk.before('sync', path));
    vi.spyOn(nodeFiles, 'open').mockImplementation((...of) => files.open(...of));
    // oxlint-disable-next-line typescript/unbound-method -- it is called with its own `this`
    const { start } = SqliteIndex.prototype;
    const index = this.#index;
    vi.spyOn(SqliteIndex.prototype, 'start').mockImplementation(async function started(this: SqliteIndex) {
      await start.call(this);
      index.allSynced(); // SQLite syncs what it writes at a start.
    });
  }

  get disk(): PowerLossDisk {
    return this.#disk;
  }

  newApp(): RunningApp {
    return new RunningApp(this.path, { files: this.#disk });
  }

  start(app: RunningApp): Promise<void> {
    return app.start(this.#config);
  }

  /** The power fails after so many operations. @returns whether it has. */
  failPowerAfter(operations: number, fate: Dice): { readonly hasFailed: () => boolean; readonly restore: () => void } {
    let passed = 0;
    let left: Left | undefined;
    const loseAll = (): Left => {
      const disk = this.#disk;
      disk.before = () => {};
      left ??= { disk: disk.afterPowerLoss(fate), index: this.#index.afterPowerLoss(fate) };
      disk.before = () => {
        throw Object.assign(new Error('the power is off'), { code: 'EIO' });
      };
      return left;
    };
    this.#disk.before = () => {
      if (passed++ < operations) return;
      loseAll();
      throw Object.assign(new Error('the power is off'), { code: 'EIO' });
    };
    const restore = (): void => {
      const { disk, index } = left ?? loseAll();
      this.#disk = disk;
      writeIndex(join(this.path, 'index.sqlite'), index);
      this.#index.allSynced();
    };
    return { hasFailed: () => left !== undefined, restore };
  }
}

/** Pulls a few images at the same time, time after time, while clocks and timers go on. */
async function pullUntil(isOver: () => boolean, app: RunningApp, upstream: FakeRegistry, fate: Dice): Promise<void> {
  for (let turn = 0; !isOver() && turn < 40; turn += 1) {
    const tags = [0, 1].map((number) => `${app.clock.now()}-${turn}-${number}`);
    for (const tag of tags) upstream.content.add(repository, tag, image({ name: tag, layers: 3, layerBytes: 40_000 }));
    upstream.content.add(repository, 'moving', image({ name: `moving ${tags[0]}`, layers: 1, layerBytes: 5_000 }));
    await Promise.all([...tags, 'moving'].map((tag) => pullAll(app, repository, tag).catch(() => {})));
    app.clock.advance(Math.floor(fate() * 8_000));
    if (fate() < 0.7) vi.advanceTimersByTime(5_000);
  }
}

/** Runs until the power fails. */
async function runUntilLoss(machine: Machine, upstream: FakeRegistry, operations: number, fate: Dice): Promise<void> {
  const power = machine.failPowerAfter(operations, fate);
  const app = machine.newApp();
  try {
    await machine.start(app);
    await pullUntil(power.hasFailed, app, upstream, fate);
  } catch {
    // A start without power fails.
  } finally {
    await app.stop(0).catch(() => {});
  }
  power.restore();
}

/** @returns milliseconds from the start until the view was complete, and why it was not. */
async function expectRecovery(machine: Machine, upstream: FakeRegistry, fate: Dice) {
  const wrong = [...(await blobsIn(machine.disk, machine.path))].filter(([, { isWhole }]) => !isWhole);
  expect(wrong).toEqual([]);
  const app = machine.newApp();
  const startedAt = performance.now();
  await machine.start(app);
  const line = (state: string) => app.logLines.find(({ msg, state: found }) => msg === 'index' && found === state);
  await vi.waitUntil(() => line('rebuilt'), { timeout: 60_000, interval: 5 });
  const completeMs = performance.now() - startedAt;
  await expectServedWhole(app, upstream, fate);
  expect((await app.metrics()).sum('layerwell_internal_errors_total')).toBe(0);
  expect((await app.metrics()).sum('layerwell_cache_corruptions_total')).toBe(0);
  await app.stop();
  expect(await differences(machine.path, { files: machine.disk })).toEqual([]);
  return { completeMs, reason: line('rebuilding')?.['reason'] };
}

/** What is still stored of some images is served without the upstream; every answer is verified. */
async function expectServedWhole(app: RunningApp, upstream: FakeRegistry, fate: Dice): Promise<void> {
  await pullAll(app, repository, 'moving');
  upstream.refuseConnections(true);
  for (let some = 0; some < 5; some += 1) {
    const { repositoryId, manifest } = storedImage(Math.floor(fate() * images), store);
    const answer = await fetch(`${app.url}/v2/${repositoryId.repository}/manifests/${manifest.digest}`);
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (answer.status === 200) expect(bytes.equals(manifest.bytes)).toBe(true);
  }
  upstream.refuseConnections(false);
}

test(`power that fails at any of ${losses} moments of pulls into a full store costs seconds: index and disk are equal soon after`, {
  timeout: 60_000 + blobs * 5 + losses * 60_000,
}, async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  onTestFinished(() => void vi.restoreAllMocks());
  const upstream = await startFakeRegistry();
  const machine = new Machine(join(await temporaryDirectory(), 'data'), mirrorOf(upstream, { storage }));
  await mkdir(dirname(machine.path), { recursive: true });
  upstream.content.add(repository, 'moving', image({ name: 'moving', layers: 1, layerBytes: 5_000 }));
  writeLargeStore(machine.path, store, (file, bytes) => machine.disk.put(join(machine.path, file), bytes));
  machine.disk.allSynced();
  await expectRecovery(machine, upstream, dice('first'));
  for (let loss = first; loss < first + losses; loss += 1) {
    const fate = dice(`loss ${loss}`);
    const moments = [Math.floor(fate() * maxOperations)];
    // Once more while it looks at what the first one left.
    if (fate() < 0.3) moments.push(Math.floor(fate() * 400));
    for (const moment of moments) await runUntilLoss(machine, upstream, moment, fate);
    const recovered = await expectRecovery(machine, upstream, fate).catch((cause: unknown) => {
      throw new Error(`loss ${loss}, at moments ${moments.join()}`, { cause });
    });
    const line = { loss, blobs, moments, ...recovered, load: loadavg()[0] };
    if (report !== undefined) await appendFile(report, `${JSON.stringify(line)}\n`);
    expect(recovered.completeMs, `loss ${loss}`).toBeLessThan(completeWithinMs);
    expect(recovered.reason, `loss ${loss}`).toBe('its process ended without closing it');
  }
});
