/**
 * What a large store costs: `node bench/large-store.ts [--report]`. The report is bench/LARGE-STORE.md.
 *   --blobs 50000 --tags 5000 --repositories 1000   a smaller store
 *   --keep FOLDER                                    generates the store there, or uses the one that is there
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { FakeRegistry } from '../test/support/fake-registry.ts';
import type { LargeStore } from '../test/support/large-store.ts';
import {
  measureAnswers,
  type Measured,
  measureEviction,
  measureHits,
  pullMany,
  untilQuiet,
  usedBytes,
} from './large-store/figures.ts';
import { measureCrash } from './large-store/crash.ts';
import { generateStore, type StorePlace } from './large-store/generate.ts';
import { type MirrorOptions, type StartedMirror, startMirror } from './large-store/mirror.ts';
import { measureRebuild } from './large-store/rebuild.ts';
import { reportOf } from './large-store/report.ts';
import { machineFacts } from './machine.ts';
import { peakResidentBytes } from './measure.ts';
import { freePort } from './server-process.ts';
import { takeApart } from './processors.ts';
import { findTools } from './tools.ts';

const { values } = parseArgs({
  options: {
    blobs: { type: 'string', default: '1000000' },
    tags: { type: 'string', default: '100000' },
    repositories: { type: 'string', default: '20000' },
    turns: { type: 'string', default: '21' },
    program: { type: 'string', default: 'dist/main.js' },
    'work-dir': { type: 'string', default: tmpdir() },
    keep: { type: 'string' },
    report: { type: 'boolean', default: false },
  },
});
const images = Number(values.tags);
const size: LargeStore = {
  images,
  layers: Math.round(Number(values.blobs) / images),
  repositories: Number(values.repositories),
};
const smallSize = { ...size, images: 100, repositories: 100 };
const rebuiltImages = 20_000;
const mebibyte = 1024 ** 2;

const interrupt = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => interrupt.abort(new Error(`ended by ${name}`)));
const { signal } = interrupt;
const tools = await findTools(process.env['PATH'] ?? '');
const beganAtMs = performance.now();
const rebuilt = await measureRebuild({ images: rebuiltImages, workDir: values['work-dir'], signal });
const processors = await takeApart(tools);

await using work = await mkdtempDisposable(join(values['work-dir'], 'layerwell-large-store-'));
const generatingSinceMs = performance.now();
const registry = new FakeRegistry(await freePort(), {});
await registry.start();
const large = await generated(values.keep ?? join(work.path, 'large'), size);
const small = await generated(join(work.path, 'small'), smallSize);
const generatedInSeconds = (performance.now() - generatingSinceMs) / 1_000;
say(`generated in ${generatedInSeconds.toFixed(0)} s`);

const measured: Measured[] = [rebuilt];
const usedNow = await measureServing();
measured.push(await measureScrubbing(), await measureEvicting(usedNow), await measureKills(usedNow));
await registry.stop();
const minutes = (performance.now() - beganAtMs) / 60_000;
const report = reportOf(measured, {
  size,
  machine: [
    ...(await machineFacts(tools, values.program)).slice(0, 3),
    processors?.fact ?? 'the mirror and its clients share the processors',
    `load average at the end: ${(loadavg()[0] ?? 0).toFixed(1)}`,
    `generated in ${generatedInSeconds.toFixed(0)} s, everything in ${minutes.toFixed(0)} minutes`,
  ],
});
process.stdout.write(report.text);
if (values.report) await writeFile(join(import.meta.dirname, 'LARGE-STORE.md'), report.text);
if (!report.isMet) process.exitCode = 1;

/** Starts, idle work, hits, lists. @returns what the store takes. */
async function measureServing(): Promise<number> {
  await using mirrors = new AsyncDisposableStack();
  const smallMirror = mirrors.use(await start(small));
  const mirror = mirrors.use(await start(large));
  say(`listening after ${mirror.readyAfterMs.toFixed(0)} ms`);
  const quietAfter = await untilQuiet(mirror.pid, signal);
  const swept = await mibOf(mirror);
  say(`quiet after ${quietAfter.toFixed(0)} s, peak ${swept.toFixed(0)} MiB`);
  measured.push({
    bounds: [{ what: 'start to listening: s', measured: mirror.readyAfterMs / 1_000, limit: 2 }],
    figures: [
      { what: 'start to listening of a small store: s', measured: smallMirror.readyAfterMs / 1_000 },
      { what: 'work after the start: s', measured: quietAfter },
    ],
  });
  await pullMany(mirror, size, 2_000, signal);
  const answers = await measureAnswers(mirror);
  // Without this, what the process has done would be measured, and not what its store holds.
  await pullMany(smallMirror, smallSize, 2_000, signal);
  await measureAnswers(smallMirror);
  const served = await mibOf(mirror);
  const hits = await measureHits(
    { large: mirror, small: smallMirror },
    { size, wrk: tools.wrk, turns: Number(values.turns), signal },
  );
  const hit = await mibOf(mirror);
  measured.push({
    bounds: [
      { what: 'peak memory of sweeps, hits and lists: MiB', measured: Math.max(swept, served, hit), limit: 300 },
    ],
    figures: [{ what: 'peak memory after the start and the first sweep: MiB', measured: swept }],
  });
  measured.push(answers, hits);
  return await usedBytes(mirror);
}

/** The first minute of a process that reads all that is stored. */
async function measureScrubbing(): Promise<Measured> {
  await using mirror = await start(large, { scrubs: true });
  await delay(60_000, undefined, { signal });
  const memory = { what: 'peak memory beside the scrubber: MiB', measured: await mibOf(mirror), limit: 300 };
  return { bounds: [memory], figures: [] };
}

/** A full store. */
function startFull(used: number): Promise<StartedMirror> {
  return start(large, { maxSize: `${Math.ceil(used / mebibyte) + 1}MiB` });
}

async function measureKills(used: number): Promise<Measured> {
  return measureCrash(() => startFull(used), { registry, signal });
}

async function measureEvicting(used: number): Promise<Measured> {
  await using mirror = await startFull(used);
  await untilQuiet(mirror.pid, signal);
  const evicting = await measureEviction(mirror, { registry, signal });
  const memory = { what: 'peak memory with evictions: MiB', measured: await mibOf(mirror), limit: 300 };
  return { ...evicting, bounds: [...evicting.bounds, memory] };
}

function start(place: StorePlace, options: Partial<MirrorOptions> = {}): Promise<StartedMirror> {
  const { program } = values;
  return startMirror(place, {
    program,
    pinnedBy: processors?.forServers ?? [],
    upstreamUrl: registry.url,
    maxSize: '7000TiB',
    scrubs: false,
    signal,
    ...options,
  });
}

async function generated(folder: string, of: LargeStore): Promise<StorePlace> {
  const place = { store: join(folder, 'store'), indexFile: join(folder, 'index.sqlite') };
  if (existsSync(place.indexFile)) return place;
  await mkdir(folder, { recursive: true });
  await generateStore(place, of);
  return place;
}

async function mibOf({ pid }: StartedMirror): Promise<number> {
  return (await peakResidentBytes(pid)) / mebibyte;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
