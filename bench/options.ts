import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';

export const scenarioNames = [
  'idle',
  'warm-blob',
  'warm-blob-10',
  'warm-blob-30',
  'warm-blob-tls',
  'warm-blob-tls-10',
  'small-blob',
  'warm-manifest-tag',
  'warm-manifest-digest',
  'cold-1',
  'cold-10',
  'cold-50',
] as const;
export type ScenarioName = (typeof scenarioNames)[number];

/** Bounds that only Layerwell is measured against. */
export const boundNames = [
  'eviction-kept',
  'slow-downloads',
  'unread-manifests',
  'idle-connections',
  'ranges-no-room',
] as const;
export type BoundName = (typeof boundNames)[number];

export type MeasuredName = ScenarioName | BoundName;
const measuredNames: readonly MeasuredName[] = [...scenarioNames, ...boundNames];

export interface BenchOptions {
  /** Measures replicas, Redis and a bucket instead of one mirror and its competitors. */
  readonly isOfReplicas: boolean;
  readonly only: ReadonlySet<MeasuredName>;
  readonly runs: number;
  /** The program to start as Layerwell, relative to the repository root. */
  readonly program: string;
  /** The folder for blobs, stores and logs. They are removed at the end. */
  readonly workDirectory: string;
  /** Where to write the report. Undefined if only some measurements ran, so that a partial report never replaces a full one. */
  readonly reportFile: string | undefined;
}

/** @throws Error that names the invalid flag. */
export function parseOptions(args: readonly string[], defaultReportFile: string): BenchOptions {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
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
  const [what, more] = positionals;
  if (more !== undefined || (what !== undefined && what !== 'replicas'))
    throw new Error(`expected nothing or "replicas", got ${positionals.join(' ')}`);
  const isOfReplicas = what === 'replicas';
  return {
    isOfReplicas,
    only: values.only === undefined ? new Set(measuredNames) : new Set(values.only.split(',').map(parseName)),
    runs,
    program: values.program,
    workDirectory: values['work-dir'],
    reportFile:
      values.report ??
      (values.only === undefined
        ? defaultReportFile.replace(/RESULTS/, isOfReplicas ? 'REPLICAS' : 'RESULTS')
        : undefined),
  };
}

function parseName(text: string): MeasuredName {
  const found = measuredNames.find((name) => name === text.trim());
  if (found === undefined) throw new Error(`--only: unknown measurement ${text}; expected ${measuredNames.join(', ')}`);
  return found;
}
