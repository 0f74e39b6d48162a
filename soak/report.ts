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

/** Writes what a run showed, and prints it in short. */
export async function writeReport(outcome: SoakOutcome): Promise<void> {
  const { options, ledger } = outcome;
  process.stdout.write(`${ledger.total('pulls')} pulls, ${ledger.violations.length} violations\n`);
  if (options.reportFile !== undefined) await writeFile(options.reportFile, pageOf(outcome));
}

function pageOf({ options, ledger, warmUpSeconds, samples, trends, fresh, settled }: SoakOutcome): string {
  const upstreamShare = ledger.total('answers');
  return `# Soak

Clients pull for a long time, nothing goes wrong, and the mirror must not grow. \`npm run soak\` takes half an hour, or
\`--minutes\`, and writes this page; it ends with an error when something grew, leaked or failed.

The popularity of images follows Zipf's law over three upstreams; the cache has room for about a half of what there is, so that cold
and warm pulls mix and something is evicted all the time. Some clients read slowly, some hang up, some fall asleep with an answer
half read. A sample is taken every five seconds; growth is that of the straight line through all samples after the warm-up, from its
beginning to its end.

## The last run

Seed \`${options.seed}\`, ${new Date().toISOString().slice(0, 10)}: **${options.minutes} minutes**, of which ${Math.round(warmUpSeconds)} s to warm up, on ${availableParallelism()} processors that had other
work too (load ${loadavg()[2]?.toFixed(1)} over the last 15 minutes). ${ledger.total('pulls')} pulls, ${upstreamShare} answers, **${ledger.violations.length} violations**.${violationsOf(ledger)}

| | mean | most | growth | allowed |
| --- | ---: | ---: | ---: | ---: |
${trends.map(rowOf).join('\n')}

| | just begun | settled at the end |
| --- | ---: | ---: |
| memory (VmRSS) | ${mebibytes(fresh.rssBytes)} | ${mebibytes(settled.rssBytes)} |
| descriptors | ${fresh.descriptors} | ${settled.descriptors} |
| sockets | ${fresh.sockets} | ${settled.sockets} |
| timers | ${fresh.timers} | ${settled.timers} |

Over the run, as the median of each tenth:

${tenths(samples)}

${counts('answers', ledger)}

${counts('sleepers', ledger)}
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
