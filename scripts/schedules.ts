import { writeFile } from 'node:fs/promises';
import { registerHooks } from 'node:module';
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import type { Counts } from '../test/schedules/schedule-world.ts';

// Runs many schedules of purges that race with pulls and evictions, and writes down what ran. `--seed` repeats a run.

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    out: { type: 'string', default: 'docs/schedules.md' },
  },
});
const smallCaches = new URL('../test/schedules/small-caches.ts', import.meta.url).href;
registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'lru-cache' && context.parentURL !== smallCaches
      ? { url: smallCaches, shortCircuit: true }
      : next(specifier, context),
});
const { raceFreeSchedules } = await import('../test/schedules/property.ts');

const [runs, seed] = [Number(values.runs), Number(values.seed)];
const counts: Counts = new Map();
const begunAtMs = performance.now();
await fc.assert(raceFreeSchedules(counts), { seed, numRuns: runs, endOnFailure: true });
const seconds = Math.round((performance.now() - begunAtMs) / 1_000);
await writeFile(values.out, report({ runs, seed, seconds, counts }));
process.stdout.write(`${runs} schedules in ${seconds} s: ${values.out}\n`);

function report(ran: { runs: number; seed: number; seconds: number; counts: Counts }): string {
  const rows = [...ran.counts].toSorted(([one], [other]) => one.localeCompare(other));
  return `# Schedules

What \`npm run schedules\` ran last. Each schedule is a few clients, purges, sweeps and refreshes over the real mirror, its store and its index; fast-check
chooses the order in which their calls to the disk and the upstream end. Every reader got the whole blob, and at the end the index had what the disk had.

| | |
| --- | --- |
| date | ${new Date().toISOString().slice(0, 10)} |
| schedules | ${ran.runs} |
| seed | ${ran.seed} |
| seconds | ${ran.seconds} |
| Node | ${process.version} |
${rows.map(([name, count]) => `| ${name} | ${count} |`).join('\n')}
`;
}
