import { randomInt } from 'node:crypto';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';

export interface ChaosOptions {
  readonly seed: string;
  /** Of troubles; setting up, healing and settling come on top. */
  readonly minutes: number;
  /** Where the report is written; undefined: nowhere. */
  readonly reportFile: string | undefined;
  /** Everything goes below it, and is removed at the end of a run without violations. */
  readonly workDirectory: string;
}

/** @throws Error naming the flag that can't be used. */
export function parseOptions(args: readonly string[], defaultReportFile: string): ChaosOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: 'string', default: String(randomInt(1_000_000)) },
      minutes: { type: 'string', default: '4' },
      report: { type: 'string' },
      'no-report': { type: 'boolean', default: false },
      'work-dir': { type: 'string', default: tmpdir() },
    },
  });
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new Error(`--minutes: expected a number above 0, got ${values.minutes}`);
  return {
    seed: values.seed,
    minutes,
    reportFile: values['no-report'] ? undefined : (values.report ?? defaultReportFile),
    workDirectory: values['work-dir'],
  };
}
