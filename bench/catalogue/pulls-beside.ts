import { setTimeout as delay } from 'node:timers/promises';
import { askRepeatedly, pullManifest } from '../clients/manifests.ts';
import type { Upstream } from '../contenders/distribution.ts';
import { putSmallImage } from '../images.ts';
import { costOf } from '../measure.ts';
import { measuredLists, timesOf } from './lists.ts';
import type { StartedMirror } from './stores.ts';

export interface BesidePulls {
  /** Manifests a second. */
  readonly alone: number;
  readonly besideLists: number;
  readonly cpuMsPerList: number;
}

const runs = 7;
const secondsPerRun = 3;
const listsEveryMs = 500;
const listsForCpu = 200;

/** How much lists slow pulls: cached manifests by tag, alone and beside lists, in turns. */
export async function pullsBesideLists({
  mirror,
  upstream,
  wrk,
  signal,
}: {
  readonly mirror: StartedMirror;
  readonly upstream: Upstream;
  readonly wrk: string;
  readonly signal: AbortSignal;
}): Promise<BesidePulls> {
  const image = await putSmallImage(upstream.folder, 'beside');
  const url = `${mirror.url}/v2/${image.repository}/manifests/${image.tag}`;
  await pullManifest(url, signal);
  const load = { url, seconds: secondsPerRun, signal };
  await askRepeatedly(wrk, load);
  const [alone, besideLists]: [number[], number[]] = [[], []];
  for (let run = 0; run < runs; run += 1) {
    alone.push((await askRepeatedly(wrk, load)).requestsPerSecond);
    const ended = new AbortController();
    const [{ requestsPerSecond }] = await Promise.all([
      askRepeatedly(wrk, load).finally(() => ended.abort()),
      askForLists(mirror, ended.signal),
    ]);
    besideLists.push(requestsPerSecond);
  }
  const lists = measuredLists(Date.now());
  const { cpuSeconds } = await costOf(mirror.pid, async () => {
    for (let at = 0; at < listsForCpu; at += 1) await timesOf(mirror.managementUrl, oneOf(lists, at), 0);
  });
  return { alone: median(alone), besideLists: median(besideLists), cpuMsPerList: (1_000 * cpuSeconds) / listsForCpu };
}

async function askForLists(mirror: StartedMirror, ended: AbortSignal): Promise<void> {
  const lists = measuredLists(Date.now());
  for (let at = 0; !ended.aborted; at += 1) {
    await timesOf(mirror.managementUrl, oneOf(lists, at), 0);
    await delay(listsEveryMs, undefined, { signal: ended }).catch(() => {});
  }
}

function oneOf(lists: ReturnType<typeof measuredLists>, at: number) {
  const list = lists[(at * 37) % lists.length];
  if (!list) throw new Error('there are no lists');
  return { ...list, skipped: 0 };
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}
