import type { Summary } from './samples.ts';
import { tableOf } from './table.ts';
import type { Bound } from './bounds/bound.ts';
import { type Verdict, verdictOn, verdictsOn } from './targets.ts';

export interface ReportFacts {
  readonly date: Date;
  readonly runs: number;
  readonly machine: readonly string[];
}

/** All results. */
export interface Results {
  readonly summaries: readonly Summary[];
  readonly bounds: readonly Bound[];
}

/** The whole report as Markdown. */
export function reportOf({ summaries, bounds }: Results, { date, runs, machine }: ReportFacts): string {
  return `# Bench results

Written by \`npm run bench\` on ${date.toISOString().slice(0, 10)}; [README.md](README.md) explains each number.
Medians of ${runs} runs, with the servers taking turns within each run.

${machine.map((fact) => `- ${fact}`).join('\n')}

${tableOf(summaries)}

## Targets

${[...verdictsOn(summaries), ...bounds.map(verdictOn)].map(verdictLine).join('\n')}
`;
}

function verdictLine({ target, measured, isMet }: Verdict): string {
  return `- ${isMet ? 'met' : '**missed**'}: ${target} (${Number(measured.toPrecision(3))})`;
}
