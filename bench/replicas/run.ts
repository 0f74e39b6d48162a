import { loadavg } from 'node:os';
import { machineFacts } from '../machine.ts';
import type { SetUp } from '../set-up.ts';
import { measureHerds } from './herd.ts';
import { type Row, rowsTable } from './rows.ts';
import { measureSources } from './sources.ts';
import { setUpReplicas } from './stage.ts';
import { measureWithRedis } from './with-redis.ts';

/** Measures replicas. @returns the report as Markdown. @throws Error if a response is wrong: then the numbers mean nothing. */
export async function benchReplicas(setUp: SetUp): Promise<string> {
  const loadFact = `load average at the start: ${(loadavg()[0] ?? 0).toFixed(1)}`;
  await using stage = await setUpReplicas(setUp);
  const rows: Row[] = [];
  for (const measure of [measureHerds, measureSources, measureWithRedis]) {
    const startedAtMs = performance.now();
    rows.push(...(await measure(stage)));
    process.stderr.write(`${measure.name}: ${Math.round((performance.now() - startedAtMs) / 1_000)} s\n`);
  }
  const facts = [...(await machineFacts(setUp.tools, setUp.program)), loadFact];
  return `# Bench results of replicas

Written by \`npm run bench -- replicas\` on ${new Date().toISOString().slice(0, 10)}. Blobs have 256 MiB. Medians of ${setUp.runs} runs; where two
things are compared, they take turns. Replicas, clients, upstream, Redis and bucket share the processors of one machine.

${facts.map((fact) => `- ${fact}`).join('\n')}

${rowsTable(rows)}

A blob from a sibling and from the bucket is downloaded, verified and stored as one from the upstream.
`;
}
