import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';

export const scenarioNames = [
  'idle',
  'warm-blob',
  'warm-manifest-tag',
  'warm-manifest-digest',
  'cold-1',
  'cold-10',
  'cold-50',
] as const;
export type ScenarioName = (typeof scenarioNames)[number];

export interface BenchOptions {
  readonly only: ReadonlySet<ScenarioName>;
  readonly runs: number;
  /** What is started as Layerwell, from the top of the repository. */
  readonly program: string;
  /** Blobs, stores and logs go below it, and are removed at the end. */
  readonly workDirectory: string;
  /** Where the report is written; undefined when only a part was measured, so that a part never replaces the whole. */
  readonly reportFile: string | undefined;
}

/** @throws Error naming the flag that can't be used. */
export function parseOptions(args: readonly string[], defaultReportFile: string): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string' },
      runs: { type: 'string', default: '5' },
      program: { type: 'string', default: 'dist/main.js' },
      'work-dir': { type: 'string', default: tmpdir() },
      report: { type: 'string' },
    },
  });
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1)
    throw new Error(`--runs: expected a whole number above 0, got ${values.runs}`);
  return {
    only: values.only === undefined ? new Set(scenarioNames) : new Set(values.only.split(',').map(parseScenario)),
    runs,
    program: values.program,
    workDirectory: values['work-dir'],
    reportFile: values.report ?? (values.only === undefined ? defaultReportFile : undefined),
  };
}

function parseScenario(text: string): ScenarioName {
  const found = scenarioNames.find((name) => name === text.trim());
  if (found === undefined)
    throw new Error(`--only: no measurement is called ${text}; there are ${scenarioNames.join(', ')}`);
  return found;
}
