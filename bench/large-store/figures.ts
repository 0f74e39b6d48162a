import { setTimeout as delay } from 'node:timers/promises';
import type { FakeRegistry } from '../../test/support/fake-registry.ts';
import { randomBlob } from '../../test/support/images.ts';
import { type LargeStore, storedImage } from '../../test/support/large-store.ts';
import type { Bound } from '../bounds/bound.ts';
import { askRepeatedly, pullManifest } from '../clients/manifests.ts';
import { costOf, processorSeconds } from '../measure.ts';
import type { StartedMirror } from './mirror.ts';

/** Something that is measured, and has no target. */
export interface Figure {
  readonly what: string;
  readonly measured: number;
}

export interface Measured {
  readonly bounds: readonly Bound[];
  readonly figures: readonly Figure[];
}

const evicted = 1_000;
const secondsPerTurn = 1;
const asked = 101;

/** Waits until a mirror has done what it does after each start. */
export async function untilQuiet(pid: number, signal: AbortSignal): Promise<number> {
  const startedAtMs = performance.now();
  for (let quiet = 0, before = await processorSeconds(pid); quiet < 3; ) {
    await delay(1_000, undefined, { signal });
    const now = await processorSeconds(pid);
    quiet = now - before < 0.05 ? quiet + 1 : 0;
    before = now;
  }
  return (performance.now() - startedAtMs) / 1_000 - 3;
}

/** CPU of a hit beside that of a mirror with a small store: the two take turns. */
export async function measureHits(
  mirrors: { readonly large: StartedMirror; readonly small: StartedMirror },
  { size, wrk, turns, signal }: { size: LargeStore; wrk: string; turns: number; signal: AbortSignal },
): Promise<Measured> {
  const { repositoryId, tag, manifest, layers } = storedImage(0, size);
  const base = `/v2/${repositoryId.repository}`;
  const paths = [
    { what: 'a manifest by tag', path: `${base}/manifests/${tag}` },
    { what: 'a manifest by digest', path: `${base}/manifests/${manifest.digest}` },
    { what: 'a small blob', path: `${base}/blobs/${layers[0]?.digest}` },
  ];
  const measured: { bounds: Bound[]; figures: Figure[] } = { bounds: [], figures: [] };
  for (const { what, path } of paths) {
    const ratios: number[] = [];
    const micros: number[] = [];
    const cost = async ({ url, pid }: StartedMirror) => {
      const load = { url: `${url}${path}`, seconds: secondsPerTurn, signal };
      const { result, cpuSeconds } = await costOf(pid, () => askRepeatedly(wrk, load));
      return (1e6 * cpuSeconds) / result.requests;
    };
    await cost(mirrors.large);
    await cost(mirrors.small);
    for (let turn = 0; turn < turns; turn += 1) {
      const [small, large] =
        turn % 2 === 0
          ? [await cost(mirrors.small), await cost(mirrors.large)]
          : [await cost(mirrors.large), await cost(mirrors.small)].toReversed();
      ratios.push((large ?? 0) / (small ?? 1));
      micros.push(large ?? 0);
    }
    measured.bounds.push({
      what: `a hit, ${what}: CPU, × that of a small store`,
      measured: median(ratios),
      limit: 1.05,
    });
    measured.figures.push({ what: `a hit, ${what}: CPU, µs`, measured: median(micros) });
  }
  return measured;
}

/** Lists, totals and metrics, each by the median of its answers. */
export async function measureAnswers({ url, managementUrl }: StartedMirror): Promise<Measured> {
  const answers = [
    { what: '_catalog, the first page of 100', at: `${url}/v2/_catalog`, limit: 10 },
    { what: '_catalog, a page from the middle', at: `${url}/v2/_catalog?last=docker.io/app/5`, limit: 10 },
    { what: '_catalog, a page of 1,000', at: `${url}/v2/_catalog?n=1000`, limit: undefined },
    { what: 'totals (/api/v1/stats)', at: `${managementUrl}/api/v1/stats`, limit: 10 },
    {
      what: 'the next evictions (/api/v1/storage/evictions)',
      at: `${managementUrl}/api/v1/storage/evictions`,
      limit: undefined,
    },
    { what: 'metrics', at: `${managementUrl}/metrics`, limit: 10 },
  ];
  const measured: { bounds: Bound[]; figures: Figure[] } = { bounds: [], figures: [] };
  for (const { what, at, limit } of answers) {
    const times: number[] = [];
    await timeOf(at).catch(() => {}); // The mirror may be closing a connection that was idle.
    for (let time = 0; time < asked; time += 1) times.push(await timeOf(at));
    if (limit !== undefined) measured.bounds.push({ what: `${what}: ms`, measured: median(times), limit });
    else measured.figures.push({ what: `${what}: ms`, measured: median(times) });
    measured.figures.push({ what: `${what}: longest of ${asked}, ms`, measured: Math.max(...times) });
  }
  return measured;
}

async function timeOf(url: string): Promise<number> {
  const startedAtMs = performance.now();
  const answer = await fetch(url);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${url} answered ${answer.status} ${text}`);
  return performance.now() - startedAtMs;
}

/** What the store takes of the disk, as the mirror counts it. */
export async function usedBytes({ managementUrl }: StartedMirror): Promise<number> {
  return metric(managementUrl, /^layerwell_storage_used_bytes (\S+)$/m);
}

/** Pulls a blob that a full store has no room for, so that about 1,000 contents are evicted for it. */
export async function measureEviction(
  mirror: StartedMirror,
  { registry, signal }: { readonly registry: FakeRegistry; readonly signal: AbortSignal },
): Promise<Measured> {
  const evictions = () => metric(mirror.managementUrl, /^layerwell_cache_evictions_total\{reason="lru"\} (\S+)$/m);
  // Each content and its record have a block, and the record's folder and that of its repository too.
  const blob = randomBlob(evicted * 4 * 4_096, `cold ${Date.now()}`);
  registry.content.addBlob('app/cold', blob);
  const before = await evictions();
  let seconds = 0;
  const { cpuMs, wallMs } = await mirror.longestTurn(async () => {
    const startedAtMs = performance.now();
    const answer = await fetch(`${mirror.url}/v2/app/cold/blobs/${blob.digest}`, { signal });
    const received = (await answer.arrayBuffer()).byteLength;
    if (received !== blob.bytes.byteLength) throw new Error(`${received} bytes of the blob arrived`);
    seconds = (performance.now() - startedAtMs) / 1_000;
  });
  const count = (await evictions()) - before;
  if (count < evicted / 2)
    throw new Error(`${count} contents were evicted for a blob of ${blob.bytes.byteLength} bytes`);
  return {
    bounds: [
      {
        what: '1,000 evictions, while a blob is pulled that needs their room: s',
        measured: (seconds / count) * evicted,
        limit: 2,
      },
      { what: 'the same: longest stall of the event loop, ms', measured: wallMs, limit: 20 },
    ],
    figures: [
      { what: 'evicted for that blob', measured: count },
      { what: 'the longest turn of the event loop meanwhile, by its CPU: ms', measured: cpuMs },
    ],
  };
}

/** The value of a metric, 0 if there is none. */
export async function metric(managementUrl: string, pattern: RegExp): Promise<number> {
  const ask = () => fetch(`${managementUrl}/metrics`);
  // The mirror may be closing the connection, which was idle meanwhile.
  const answer = await ask().catch(ask);
  return Number(pattern.exec(await answer.text())?.[1] ?? 0);
}

/** Pulls many different manifests, one after the other. */
export async function pullMany(
  { url }: StartedMirror,
  size: LargeStore,
  count: number,
  signal: AbortSignal,
): Promise<void> {
  for (let number = 0; number < count; number += 1) {
    const { repositoryId, tag } = storedImage((number * 31) % size.images, size);
    await pullManifest(`${url}/v2/${repositoryId.repository}/manifests/${tag}`, signal);
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}
