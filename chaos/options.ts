import { randomInt } from 'node:crypto';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';

export interface ChaosOptions {
  readonly seed: string;
  /** The duration of faults. Setup and recovery take additional time. */
  readonly minutes: number;
  /** 1: one mirror alone. More: replicas with a Redis and a bucket, which fail too. */
  readonly replicas: number;
  /** Where to write the report. Undefined: no report. */
  readonly reportFile: string | undefined;
  /** The folder for all files. They are removed after a run without violations. */
  readonly workDirectory: string;
}

/** @throws Error that names the invalid flag. */
export function parseOptions(args: readonly string[], defaultReportFile: string): ChaosOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: 'string', default: String(randomInt(1_000_000)) },
      minutes: { type: 'string', default: '4' },
      replicas: { type: 'string', default: '1' },
      report: { type: 'string' },
      'no-report': { type: 'boolean', default: false },
      'work-dir': { type: 'string', default: tmpdir() },
    },
  });
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new Error(`--minutes: expected a number above 0, got ${values.minutes}`);
  const replicas = Number(values.replicas);
  if (!Number.isInteger(replicas) || replicas < 1)
    throw new Error(`--replicas: expected a whole number above 0, got ${values.replicas}`);
  return {
    replicas,
    seed: values.seed,
    minutes,
    reportFile: values['no-report'] ? undefined : (values.report ?? defaultReportFile),
    workDirectory: values['work-dir'],
  };
}
