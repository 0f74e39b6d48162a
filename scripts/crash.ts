/** Kills the mirror at many moments of a pull, and writes what came of it into docs/crash.md: `npm run crash`. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
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
  return `# Killed at any moment

${killed} times a mirror that was pulling an image (two layers of 0.5 to 2 MiB, into a store of 16 MiB that is full, so that it also evicts) was
killed with SIGKILL at a moment chosen by chance, the same at every run. Each time:

- every blob in the store hashed to its name, before anything was started again;
- after the restart nothing was left in \`incoming/\` but what can be gone on with;
- with the upstream down, everything that had its bytes and its record was served, byte for byte (${served} answers in all);
- with the upstream up the interrupted pull succeeded, and once more with it down.

| how far the pull had come | kills |
| --- | --- |
${rows.toSorted().join('\n')}

${new Date().toISOString().slice(0, 10)}, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, in ${Math.round(durationMs / 1000)} s.
\`npm run crash\` does it again and writes this page; every run of the tests does it 40 times (\`test/app/crash.test.ts\`). Besides, the tests kill the
process at every named step of writing a blob, a record and a mark (\`src/storage/filesystem/failpoints.ts\`).
`;
}

const run = ['vitest', 'run', '--project', 'mirror', 'test/app/crash.test.ts', '-t', 'moments'];
const env = { ...process.env, CRASH_MOMENTS: String(moments), CRASH_REPORT: file };
const { status } = spawnSync('npx', run, { cwd: root, env, stdio: 'inherit' });
if (status === 0)
  writeFileSync(join(root, 'docs', 'crash.md'), page(figures.parse(JSON.parse(readFileSync(file, 'utf8')))));
rmSync(folder, { recursive: true });
process.exitCode = status ?? 1;
