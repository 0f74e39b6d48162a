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

/** Bounds that Layerwell alone is held to. */
export const boundNames = ['eviction-kept', 'slow-downloads', 'unread-manifests', 'ranges-no-room'] as const;
export type BoundName = (typeof boundNames)[number];

export type MeasuredName = ScenarioName | BoundName;
const measuredNames: readonly MeasuredName[] = [...scenarioNames, ...boundNames];

export interface BenchOptions {
  readonly only: ReadonlySet<MeasuredName>;
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
    only: values.only === undefined ? new Set(measuredNames) : new Set(values.only.split(',').map(parseName)),
    runs,
    program: values.program,
    workDirectory: values['work-dir'],
    reportFile: values.report ?? (values.only === undefined ? defaultReportFile : undefined),
  };
}

function parseName(text: string): MeasuredName {
  const found = measuredNames.find((name) => name === text.trim());
  if (found === undefined)
    throw new Error(`--only: no measurement is called ${text}; there are ${measuredNames.join(', ')}`);
  return found;
}
