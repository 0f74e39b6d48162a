/**
 * `npm run test:cluster`: installs the chart in the cluster of KUBECONFIG in every shape, changes and breaks it while clients pull, and writes
 * what they saw into docs/kubernetes.md. `--only KEY,KEY` runs some scenarios, `--shapes N,N` some shapes, `--no-report` writes nothing,
 * `--results FILE` adds to the results of a former run, `--keep` leaves everything installed.
 */
import { parseArgs } from 'node:util';
import { kubeletPulls } from './kubelet.ts';
import { faults, plannedChanges } from './changes.ts';
import { Cluster } from './cluster.ts';
import { followGuide } from './guide.ts';
import { dryRuns } from './objects.ts';
import { management } from './management.ts';
import { nodeConfiguration } from './nodes.ts';
import { Release } from './release.ts';
import { addedTo, type Line, writeReport } from './report.ts';
import { rotations } from './rotation.ts';
import type { Scenario } from './scenario.ts';
import { shapesWith } from './shapes.ts';
import { Stage } from './stage.ts';
import { uninstall } from './uninstall.ts';

const { values: chosen } = parseArgs({
  options: {
    only: { type: 'string' },
    shapes: { type: 'string' },
    report: { type: 'boolean', default: true },
    results: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
  allowNegative: true,
});

function words(name: string): readonly string[] | undefined {
  const text = process.env[name]?.trim();
  return text === undefined || text === '' ? undefined : text.split(/\s+/);
}

const cluster = new Cluster({ client: words('CLUSTER_CLIENT') ?? [], node: words('CLUSTER_EXEC') });
const endpoint = process.env['CLUSTER_S3'];
const shapes = shapesWith({
  redis: process.env['CLUSTER_REDIS'],
  bucket: endpoint === undefined ? undefined : { endpoint, name: process.env['CLUSTER_S3_BUCKET'] ?? 'layerwell' },
});
const stage = new Stage(cluster, process.env['CLUSTER_IMAGE'] ?? 'docker.io/library/layerwell:0.1.0');

/** Install comes first and uninstall last; without them nothing else can run. */
function wanted({ key }: Scenario): boolean {
  if (key === 'uninstall') return !chosen.keep;
  return chosen.only === undefined || ['install', ...chosen.only.split(',')].includes(key);
}

function wantedShapes() {
  const numbers = chosen.shapes?.split(',').map(Number);
  return shapes.filter((_, index) => numbers === undefined || numbers.includes(index + 1));
}

function isFor({ key, isFor: applies }: Scenario, release: Release): boolean {
  return release.shape.scenarios?.includes(key) !== false && applies?.(release) !== false;
}

const scenarios: readonly Scenario[] = [
  ...plannedChanges,
  ...kubeletPulls,
  ...nodeConfiguration,
  ...management,
  ...faults,
  ...rotations,
  uninstall,
];
const lines: Line[] = [];

async function runScenario(scenario: Scenario, release: Release): Promise<void> {
  const fromMs = performance.now();
  const finding = await scenario.run(release).catch((error: unknown) => ({
    problems: [error instanceof Error ? error.message : String(error)],
  }));
  const line: Line = { shape: release.shape.name, scenario: scenario.name, finding };
  lines.push(line);
  const took = `${((performance.now() - fromMs) / 1_000).toFixed(0)} s`;
  process.stdout.write(`${JSON.stringify({ took, ...line })}\n`);
}

await stage.setUp();
try {
  if (chosen.only === undefined || chosen.only.includes('dry-run')) lines.push(...(await dryRuns(stage)));
  if (chosen.only === undefined || chosen.only.includes('guide')) lines.push(...(await followGuide(stage)));
  for (const shape of wantedShapes()) {
    const release = new Release(stage, shape);
    for (const scenario of scenarios)
      if (wanted(scenario) && isFor(scenario, release)) await runScenario(scenario, release);
  }
} finally {
  if (!chosen.keep) await stage.tearDown();
}
const problems = lines.flatMap(({ shape, scenario, finding }) =>
  finding.problems.map((problem) => `${shape}, ${scenario}: ${problem}`),
);
if (chosen.report) await writeReport(await addedTo(chosen.results, lines), cluster);
process.stdout.write(problems.length > 0 ? `\n${problems.join('\n')}\n` : '\nno problems\n');
process.exitCode = problems.length > 0 ? 1 : 0;
