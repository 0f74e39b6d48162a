import type { StoreCounts } from './generated-index.ts';
import type { ListTimes } from './lists.ts';
import { pageLimitMs, type PageTimes } from './pages.ts';
import type { BesidePulls } from './pulls-beside.ts';
import type { Driver } from './stores.ts';

/** A list is to take no longer. */
export const limitMs = 50;

export interface Measured {
  readonly driver: Driver;
  readonly filledInSeconds: number;
  readonly lists: readonly ListTimes[];
  readonly pages: readonly PageTimes[];
  /** Undefined if it was not measured. */
  readonly beside: BesidePulls | undefined;
}

const number = (value: number) => value.toLocaleString('en-US');

export interface ReportFacts {
  readonly counts: StoreCounts;
  /** How often each list was asked for. */
  readonly times: number;
  readonly machine: readonly string[];
}

const pageCell = ({ medianMs, p99Ms, besideMs, bytes }: PageTimes) =>
  `${medianMs.toFixed(1)} | ${p99Ms.toFixed(1)} | ${besideMs.toFixed(1)} | ${(bytes / 1_000).toFixed(0)}`;

/** The report as Markdown. Pure. */
export function reportOf(measured: readonly Measured[], { counts, times, machine }: ReportFacts): string {
  const names = measured[0]?.lists.map(({ name }) => name) ?? [];
  const cell = ({ medianMs, p99Ms, isShort, items }: ListTimes) =>
    `${medianMs.toFixed(1)} | ${p99Ms.toFixed(1)} | ${items}${isShort ? ' …' : ''}`;
  const rows = names.map(
    (name, at) => `| ${name} | ${measured.map(({ lists }) => (lists[at] ? cell(lists[at]) : '')).join(' | ')} |`,
  );
  const pages = (measured[0]?.pages ?? []).map(
    ({ name }, at) =>
      `| ${name} | ${measured.map(({ pages: all }) => (all[at] ? pageCell(all[at]) : '')).join(' | ')} |`,
  );
  return `# How fast the lists of the management API are

By \`node bench/catalogue.ts --report\`: ${number(counts.repositories)} repositories, ${number(counts.tags)} tags, ${number(counts.blobs)} blobs; each list ${times} times over HTTP, pages of
100 items. Times are milliseconds, median and 99th percentile; at most ${limitMs} are wanted. Then the number of items in the page; \`…\` where it ended
before it was full, with a cursor for the rest.

${machine.map((fact) => `- ${fact}`).join('\n')}
${measured.map(({ driver, filledInSeconds }) => `- ${driver}: the index was filled in ${filledInSeconds.toFixed(0)} s`).join('\n')}

## Pulls beside lists

Cached manifests, requested by 32 connections as fast as they can, alone and while an operator asks for two lists a second; the runs take turns.

| index | manifests a second alone | beside lists | difference | CPU of the mirror for a list, ms |
|---|---:|---:|---:|---:|
${measured.flatMap(({ driver, beside }) => (beside ? `| ${driver} | ${number(Math.round(beside.alone))} | ${number(Math.round(beside.besideLists))} | ${(100 * (beside.besideLists / beside.alone - 1)).toFixed(1)} % | ${beside.cpuMsPerList.toFixed(1)} |` : [])).join('\n')}

## Pages for people

At most ${pageLimitMs} ms are wanted. The third time is the longest answer to \`/v2/\` beside the page, median: how long pulls waited.

| | ${measured.map(({ driver }) => `${driver}: median | p99 | beside | kB`).join(' | ')} |
|---|${measured.map(() => '---:|---:|---:|---:').join('|')}|
${pages.join('\n')}

## Lists

| | ${measured.map(({ driver }) => `${driver}: median | p99 | items`).join(' | ')} |
|---|${measured.map(() => '---:|---:|---:').join('|')}|
${rows.join('\n')}
`;
}
