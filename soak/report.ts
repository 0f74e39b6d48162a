import { writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg } from 'node:os';
import type { Ledger } from '../chaos/ledger.ts';
import type { ProcessState } from '../chaos/process-state.ts';
import type { Sample, Trend } from './limits.ts';
import type { SoakOptions } from './options.ts';

export interface SoakOutcome {
  readonly options: SoakOptions;
  readonly ledger: Ledger;
  readonly warmUpSeconds: number;
  readonly samples: readonly Sample[];
  readonly trends: readonly Trend[];
  readonly fresh: ProcessState;
  readonly settled: ProcessState;
}

/** Prints a summary and writes the report. */
export async function writeReport(outcome: SoakOutcome): Promise<void> {
  const { options, ledger } = outcome;
  process.stdout.write(`${ledger.total('pulls')} pulls, ${ledger.violations.length} violations\n`);
  if (options.reportFile !== undefined) await writeFile(options.reportFile, pageOf(outcome));
}

function pageOf({ options, ledger, warmUpSeconds, samples, trends, fresh, settled }: SoakOutcome): string {
  const upstreamShare = ledger.total('answers');
  return `# Soak

Clients pull for a long time without faults, and the mirror must not grow. \`npm run soak\` takes half an hour, or
\`--minutes\`, and writes this page. It exits with an error if something grew, leaked or failed.

The popularity of images follows Zipf's law over three upstreams. The cache has room for about half of the images, so that cold and warm
pulls mix and something is always being evicted. Some clients read slowly, some hang up, some stop reading in the middle of a response. A
sample is taken every five seconds. Growth is the rise of the regression line through all samples after the warm-up, from start to end.

## The last run

Seed \`${options.seed}\`, ${new Date().toISOString().slice(0, 10)}: **${options.minutes} minutes**, including ${Math.round(warmUpSeconds)} s of warm-up, on ${availableParallelism()} shared processors (load ${loadavg()[2]?.toFixed(1)}
over the last 15 minutes). ${ledger.total('pulls')} pulls, ${upstreamShare} responses, **${ledger.violations.length} violations**.${violationsOf(ledger)}

| | mean | max | growth | allowed |
| --- | ---: | ---: | ---: | ---: |
${trends.map(rowOf).join('\n')}

| | at start | at the end, idle |
| --- | ---: | ---: |
| memory (VmRSS) | ${mebibytes(fresh.rssBytes)} | ${mebibytes(settled.rssBytes)} |
| descriptors | ${fresh.descriptors} | ${settled.descriptors} |
| sockets | ${fresh.sockets} | ${settled.sockets} |
| timers | ${fresh.timers} | ${settled.timers} |

Medians of each tenth of the run:

${tenths(samples)}

${counts('answers', ledger)}

${counts('stalled readers', ledger)}
`;
}

function rowOf({ name, unit, mean, most, growth, allowed }: Trend): string {
  const text = (value: number): string => `${value.toFixed(1)}${unit === '' ? '' : ` ${unit}`}`;
  return `| ${name} | ${text(mean)} | ${text(most)} | ${text(growth)} | ${text(allowed)} |`;
}

function tenths(samples: readonly Sample[]): string {
  const size = Math.max(1, Math.floor(samples.length / 10));
  const rows: string[] = [];
  for (let at = 0; at + size <= samples.length; at += size) {
    const part = samples.slice(at, at + size);
    const median = (read: (state: ProcessState) => number): number =>
      part.map(({ state }) => read(state)).toSorted((a, b) => a - b)[part.length >> 1] ?? Number.NaN;
    const values = [
      `${Math.round(part[0]?.atSeconds ?? 0)} s`,
      mebibytes(median(({ rssBytes }) => rssBytes)),
      mebibytes(median(({ heapBytes }) => heapBytes)),
      median(({ descriptors }) => descriptors),
      `${median(({ eventLoopP99Ms }) => eventLoopP99Ms).toFixed(1)} ms`,
    ];
    rows.push(`| ${values.join(' | ')} |`);
  }
  return [
    '| from | memory | heap | descriptors | event loop p99 |',
    '| ---: | ---: | ---: | ---: | ---: |',
    ...rows,
  ].join('\n');
}

function counts(chapter: string, ledger: Ledger): string {
  const rows = ledger.lines(chapter).map(([name, count]) => `| ${name} | ${count} |`);
  return [`| ${chapter} | |`, '| --- | ---: |', ...rows].join('\n');
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}

function violationsOf({ violations }: Ledger): string {
  return violations.map(({ what, atSeconds }) => `\n\n- after ${atSeconds} s: ${what}`).join('');
}
