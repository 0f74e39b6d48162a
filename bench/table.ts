import type { MeasurementName, Spread, Summary } from './samples.ts';

const titles: Readonly<Record<MeasurementName, string>> = {
  idle: 'start with an empty store',
  'warm-blob': 'warm blob, 2 clients × 4',
  'warm-blob-10': 'warm blob, 10 clients',
  'warm-blob-30': 'warm blob, 30 clients',
  'warm-blob-tls': 'warm blob by HTTPS, 2 clients × 2',
  'warm-blob-tls-10': 'warm blob by HTTPS, 10 clients',
  'small-blob': 'warm blob of 4 KiB',
  'warm-manifest-tag': 'warm manifest by tag',
  'warm-manifest-digest': 'warm manifest by digest',
  'cold-1': 'cold blob, 1 client',
  'cold-10': 'cold blob, 10 clients',
  'cold-50': 'cold blob, 50 clients',
  'cold-50-hashed': 'the same, clients hash',
  'cold-50-odd': '… 1 slow, 10 hang up',
};

const header = [
  '',
  'server',
  'median',
  'min–max',
  '× proxy',
  '× Koa',
  'CPU',
  '× proxy',
  'memory',
  'upstream GETs',
  'first byte',
];

/** All results as one Markdown table, with aligned columns so that it is readable as text. */
export function tableOf(summaries: readonly Summary[]): string {
  const rows = summaries.map((summary, i) => {
    const cells = cellsOf(summary, summaries);
    return summaries[i - 1]?.measurement === summary.measurement ? ['', ...cells.slice(1)] : cells;
  });
  return aligned([header, ...rows]);
}

/** The ratio to `other`: of requests per second, or of time where time is measured. */
export function ratioTo(other: Summary | undefined, summary: Summary): number | undefined {
  if (other === undefined || other === summary) return undefined;
  if (summary.requestsPerSecond === undefined) return summary.seconds.median / other.seconds.median;
  return other.requestsPerSecond && summary.requestsPerSecond.median / other.requestsPerSecond.median;
}

export function cpuRatioTo(other: Summary | undefined, summary: Summary): number | undefined {
  if (other?.cpuSeconds === undefined || summary.cpuSeconds === undefined || other === summary) return undefined;
  return summary.cpuSeconds.median / other.cpuSeconds.median;
}

function cellsOf(summary: Summary, all: readonly Summary[]): readonly string[] {
  const rival = (name: string) =>
    all.find((other) => other.measurement === summary.measurement && other.contender === name);
  const proxy = rival('distribution proxy');
  const [speed, unit] = summary.requestsPerSecond ? [summary.requestsPerSecond, '/s'] : [summary.seconds, ' s'];
  return [
    titles[summary.measurement],
    summary.contender,
    `${number(speed.median)}${unit}`,
    rangeOf(speed),
    ratioText(ratioTo(proxy, summary)),
    ratioText(ratioTo(rival('bare Koa'), summary)),
    cpuText(summary),
    ratioText(cpuRatioTo(proxy, summary)),
    `${Math.round(summary.memoryBytes.most / 1024 ** 2)} MiB`,
    summary.upstreamGets ? rangeOf(summary.upstreamGets) : '',
    summary.firstByteMs ? `${number(summary.firstByteMs.median)} ms (≤ ${number(summary.firstByteMs.most)})` : '',
  ];
}

function cpuText({ cpuSeconds, requestsPerSecond }: Summary): string {
  if (cpuSeconds === undefined) return '';
  return requestsPerSecond ? `${number(cpuSeconds.median * 1_000_000)} µs/request` : `${number(cpuSeconds.median)} s`;
}

function rangeOf({ least, most }: Spread): string {
  return least === most ? number(least) : `${number(least)}–${number(most)}`;
}

function ratioText(ratio: number | undefined): string {
  return ratio === undefined ? '' : ratio.toFixed(2);
}

/** Three significant digits, and no decimals from 100 on. */
function number(value: number): string {
  if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(value >= 10 ? 1 : 2);
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = header.map((_, column) => Math.max(3, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, i) => pad(cells[i] ?? '', width, i)).join(' | ')} |`;
  const [first = [], ...rest] = rows;
  const rule = `|${widths.map((width, i) => (i < 2 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(first), rule, ...rest.map(line)].join('\n');
}

function pad(text: string, width: number, column: number): string {
  return column < 2 ? text.padEnd(width) : text.padStart(width);
}
