import { randomInt } from 'node:crypto';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';

export interface SoakOptions {
  readonly seed: string;
  readonly minutes: number;
  /** Where to write the report. Undefined: no report. */
  readonly reportFile: string | undefined;
  readonly workDirectory: string;
}

/** @throws Error that names the invalid flag. */
export function parseOptions(args: readonly string[], defaultReportFile: string): SoakOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: 'string', default: String(randomInt(1_000_000)) },
      minutes: { type: 'string', default: '30' },
      report: { type: 'string' },
      'no-report': { type: 'boolean', default: false },
      'work-dir': { type: 'string', default: tmpdir() },
    },
  });
  const minutes = Number(values.minutes);
  if (!(minutes >= 1)) throw new Error(`--minutes: expected at least 1, got ${values.minutes}`);
  return {
    seed: values.seed,
    minutes,
    reportFile: values['no-report'] ? undefined : (values.report ?? defaultReportFile),
    workDirectory: values['work-dir'],
  };
}
