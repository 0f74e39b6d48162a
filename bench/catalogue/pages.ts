import type { Upstream } from '../contenders/distribution.ts';
import { pullManifest } from '../clients/manifests.ts';
import { putSmallImage } from '../images.ts';
import type { StartedMirror } from './stores.ts';

/** A page is to take no longer. */
export const pageLimitMs = 150;

export interface PageTimes {
  readonly name: string;
  readonly bytes: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  /** The longest answer to `/v2/` meanwhile, median over the times: how long the event loop was busy. */
  readonly besideMs: number;
}

interface MeasuredPage {
  readonly name: string;
  readonly url: string;
}

interface PagesToMeasure {
  readonly upstream: Upstream;
  readonly times: number;
  readonly isMeasured: (page: MeasuredPage) => boolean;
  readonly signal: AbortSignal;
}

const nightly = 'docker.io/team-0/application-0';

/** How long each page for people takes on the generated store. Two of them are of an image that is pulled first: generated ones have no files. */
export async function measuredPages(
  mirror: StartedMirror,
  { upstream, times, isMeasured, signal }: PagesToMeasure,
): Promise<readonly PageTimes[]> {
  const image = await pulledImage(mirror, upstream, signal);
  const measured: PageTimes[] = [];
  for (const page of pagesOf(mirror, image).filter(isMeasured))
    measured.push(await timesOfPage(page, { mirror, times, signal }));
  return measured;
}

/** @returns its name on the pages */
async function pulledImage(mirror: StartedMirror, upstream: Upstream, signal: AbortSignal): Promise<string> {
  const { repository, tag, manifest } = await putSmallImage(upstream.folder, 'page');
  await pullManifest(`${mirror.url}/v2/${repository}/manifests/${tag}`, signal);
  const { config, layers } = JSON.parse(manifest.bytes.toString());
  for (const { digest } of [config, ...layers]) {
    const answer = await fetch(`${mirror.url}/v2/${repository}/blobs/${digest}`, { signal });
    await answer.arrayBuffer();
  }
  return `upstream.test/${repository}:${tag}`;
}

function pagesOf({ url, managementUrl }: StartedMirror, image: string): readonly MeasuredPage[] {
  const management = [
    ['overview', '/'],
    ['repositories', '/browse'],
    ['repositories, searched', '/browse?text=application-77&sort=lastPull'],
    ['tags, searched, few have the text', '/browse?list=tags&text=nightly-777&sort=size'],
    ['tags, searched, none has the text', '/browse?list=tags&text=nothing-has-this&sort=name'],
    ['tags of a repository with 10 % of all', `/browse/${nightly}?sort=lastPull`],
    ['tags of a repository with 10 % of all, by size', `/browse/${nightly}?sort=size`],
    ['an image', `/browse/${image}`],
  ].map(([name = '', path]) => ({ name, url: `${managementUrl}${path}` }));
  const open = [
    ['public: repositories', '/'],
    ['public: an image', `/${image}`],
  ].map(([name = '', path]) => ({ name, url: `${url}${path}` }));
  return [...management, ...open];
}

async function timesOfPage(
  { name, url }: MeasuredPage,
  { mirror, times, signal }: { readonly mirror: StartedMirror; readonly times: number; readonly signal: AbortSignal },
): Promise<PageTimes> {
  let bytes = await bytesOf(url, signal);
  const [took, beside]: [number[], number[]] = [[], []];
  for (let time = 0; time < times; time += 1) {
    const startedAtMs = performance.now();
    bytes = await bytesOf(url, signal);
    took.push(performance.now() - startedAtMs);
  }
  for (let time = 0; time < times; time += 1) beside.push(await longestBeside(bytesOf(url, signal), mirror, signal));
  took.sort((one, other) => one - other);
  beside.sort((one, other) => one - other);
  return {
    name,
    bytes,
    medianMs: took[Math.floor(times / 2)] ?? 0,
    p99Ms: took[Math.ceil(times * 0.99) - 1] ?? 0,
    besideMs: beside[Math.floor(times / 2)] ?? 0,
  };
}

async function longestBeside(work: Promise<unknown>, { url }: StartedMirror, signal: AbortSignal): Promise<number> {
  let isOver = false;
  const ended = work.finally(() => (isOver = true));
  let longestMs = 0;
  while (!isOver) {
    const startedAtMs = performance.now();
    const answer = await fetch(`${url}/v2/`, { signal });
    await answer.arrayBuffer();
    longestMs = Math.max(longestMs, performance.now() - startedAtMs);
  }
  await ended;
  return longestMs;
}

async function bytesOf(url: string, signal: AbortSignal): Promise<number> {
  const answer = await fetch(url, { headers: { accept: 'text/html' }, signal });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${text.slice(0, 2_000)}`);
  return text.length;
}
