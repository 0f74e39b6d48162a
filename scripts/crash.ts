/** `npm run crash`: kills the mirror at many moments of a pull and writes the results to docs/crash.md. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';

const moments = 200;
const root = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'layerwell-crash-'));
const file = join(folder, 'crash.json');
const figures = z.object({
  moments: z.number(),
  durationMs: z.number(),
  stages: z.record(z.string(), z.number()),
  served: z.number(),
});

function page({ moments: killed, durationMs, stages, served }: z.output<typeof figures>): string {
  const rows = Object.entries(stages).map(([stage, count]) => `| ${stage} | ${count} |`);
  return `# Crash test

A mirror that was pulling an image (two layers of 0.5 to 2 MiB) into a full store of 16 MiB, so that it also had to evict, was killed with
SIGKILL ${killed} times. The moments are pseudo-random and the same in every run. Each time:

- before the restart, every blob in the store matched its digest;
- after the restart, \`incoming/\` held nothing but partial downloads that can be resumed;
- with the upstream down, everything whose content and record had been stored was served, byte for byte (${served} responses in all);
- with the upstream up, the interrupted pull succeeded, and then once more with the upstream down.

| progress of the pull when killed | kills |
| --- | --- |
${rows.toSorted().join('\n')}

${new Date().toISOString().slice(0, 10)}, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, in ${Math.round(durationMs / 1000)} s
(load ${Math.round(loadavg()[1] ?? 0)}).

\`npm run crash\` repeats the test and writes this page. Every test run does it 25 times (\`test/app/crash.test.ts\`). The tests also kill the
process at every named step of writing a blob, a record and a checkpoint (\`src/storage/filesystem/failpoints.ts\`).
`;
}

const run = ['vitest', 'run', '--project', 'mirror', 'test/app/crash.test.ts', '-t', 'moments'];
const env = { ...process.env, CRASH_MOMENTS: String(moments), CRASH_REPORT: file };
const { status } = spawnSync('npx', run, { cwd: root, env, stdio: 'inherit' });
if (status === 0)
  writeFileSync(join(root, 'docs', 'crash.md'), page(figures.parse(JSON.parse(readFileSync(file, 'utf8')))));
rmSync(folder, { recursive: true });
process.exitCode = status ?? 1;
