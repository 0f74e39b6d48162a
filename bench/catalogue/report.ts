import type { StoreCounts } from './generated-index.ts';
import type { ListTimes } from './lists.ts';
import type { BesidePulls } from './pulls-beside.ts';
import type { Driver } from './stores.ts';

/** A list is to take no longer. */
export const limitMs = 50;

export interface Measured {
  readonly driver: Driver;
  readonly filledInSeconds: number;
  readonly lists: readonly ListTimes[];
  readonly beside: BesidePulls;
}

const number = (value: number) => value.toLocaleString('en-US');

export interface ReportFacts {
  readonly counts: StoreCounts;
  /** How often each list was asked for. */
  readonly times: number;
  readonly machine: readonly string[];
}

/** The report as Markdown. Pure. */
export function reportOf(measured: readonly Measured[], { counts, times, machine }: ReportFacts): string {
  const names = measured[0]?.lists.map(({ name }) => name) ?? [];
  const cell = ({ medianMs, p99Ms, isShort, items }: ListTimes) =>
    `${medianMs.toFixed(1)} | ${p99Ms.toFixed(1)} | ${items}${isShort ? ' …' : ''}`;
  const rows = names.map(
    (name, at) => `| ${name} | ${measured.map(({ lists }) => (lists[at] ? cell(lists[at]) : '')).join(' | ')} |`,
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
${measured.map(({ driver, beside }) => `| ${driver} | ${number(Math.round(beside.alone))} | ${number(Math.round(beside.besideLists))} | ${(100 * (beside.besideLists / beside.alone - 1)).toFixed(1)} % | ${beside.cpuMsPerList.toFixed(1)} |`).join('\n')}

## Lists

| | ${measured.map(({ driver }) => `${driver}: median | p99 | items`).join(' | ')} |
|---|${measured.map(() => '---:|---:|---:').join('|')}|
${rows.join('\n')}
`;
}
