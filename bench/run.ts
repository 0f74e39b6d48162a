import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { machineFacts } from './machine.ts';
import { boundNames, parseOptions, scenarioNames } from './options.ts';
import type { Bound } from './bounds/bound.ts';
import { measureBound } from './bounds/bounds.ts';
import { reportOf } from './report.ts';
import { type Sample, summarise } from './samples.ts';
import { measure } from './scenarios/scenarios.ts';
import { benchReplicas } from './replicas/run.ts';
import { type SetUp, setUpStage } from './set-up.ts';
import { takeApart } from './processors.ts';
import { findTools } from './tools.ts';

const wholeRunMs = 15 * 60_000;

const options = parseOptions(process.argv.slice(2), join(import.meta.dirname, 'RESULTS.md'));
const interrupt = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => interrupt.abort(new Error(`ended by ${name}`)));
const signal = AbortSignal.any([interrupt.signal, AbortSignal.timeout(wholeRunMs)]);

const searchPath = process.env['PATH'] ?? '';
const tools = await findTools(searchPath);
await mkdir(options.workDirectory, { recursive: true });
await using work = await mkdtempDisposable(join(options.workDirectory, 'layerwell-bench-'));
const processors = options.isOfReplicas ? undefined : await takeApart(tools);
const setUp = {
  tools,
  program: options.program,
  folder: work.path,
  searchPath,
  runs: options.runs,
  processors,
  signal,
};
const report = options.isOfReplicas ? await benchReplicas(setUp) : await benchOne(setUp);
process.stdout.write(report);
if (options.reportFile !== undefined) await writeFile(options.reportFile, report);

/** One mirror and its competitors. */
async function benchOne(of: SetUp): Promise<string> {
  await using stage = await setUpStage(of);
  // Other load on the machine slows all servers, but not equally.
  const loadFact = `load average at the start: ${(loadavg()[0] ?? 0).toFixed(1)}`;
  const samples: Sample[] = [];
  for (const scenario of scenarioNames.filter((name) => options.only.has(name))) {
    const startedAtMs = performance.now();
    samples.push(...(await measure(scenario, stage)));
    process.stderr.write(`${scenario}: measured in ${Math.round((performance.now() - startedAtMs) / 1_000)} s\n`);
  }
  const bounds: Bound[] = [];
  for (const name of boundNames.filter((one) => options.only.has(one))) {
    const startedAtMs = performance.now();
    bounds.push(...(await measureBound(name, stage)));
    process.stderr.write(`${name}: measured in ${Math.round((performance.now() - startedAtMs) / 1_000)} s\n`);
  }
  const shared = 'servers, clients and the upstream share the processors';
  const machine = [...(await machineFacts(tools, options.program)), of.processors?.fact ?? shared, loadFact];
  return reportOf({ summaries: summarise(samples), bounds }, { date: new Date(), runs: options.runs, machine });
}
