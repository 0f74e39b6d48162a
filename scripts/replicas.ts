import { writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { pullTogether, type Interruption, type Together } from '../test/replicas/harness/together.ts';
import type { Owner } from '../test/support/owner.ts';
import { startRedis } from '../test/support/redis.ts';

// `npm run replicas`: what test/replicas/one-download.test.ts does, with blobs of 256 MiB. Writes docs/replicas.md. Exits with 1 if a
// promise was broken.

const herd = { mebibytes: 256, clients: 60 };
const interruptions: readonly Interruption[] = ['none', 'SIGKILL', 'SIGSTOP', 'SIGSTOP, then SIGCONT'];
const titles: Readonly<Record<Interruption, string>> = {
  none: 'nothing',
  SIGKILL: 'it is killed (SIGKILL)',
  SIGSTOP: 'it is frozen (SIGSTOP)',
  'SIGSTOP, then SIGCONT': 'it is frozen, and wakes up while the others go on (SIGCONT)',
};

async function measure(interruption: Interruption): Promise<Together> {
  await using owned = new AsyncDisposableStack();
  const owner: Owner = (cleanUp) => owned.defer(cleanUp);
  const redis = await startRedis({ owner });
  return await pullTogether({ ...herd, interruption, redisPort: redis.port, owner });
}

function problemsWith(interruption: Interruption, seen: Together): readonly string[] {
  const mostGets = interruption === 'none' ? 1 : 2;
  const checks: readonly (readonly [boolean, string])[] = [
    [seen.rightDigests === herd.clients, `${seen.rightDigests} right digests; ${seen.failures.join('; ')}`],
    [seen.tagRequests === 1, `${seen.tagRequests} requests for the tag`],
    [seen.manifestGets === 1, `${seen.manifestGets} GETs of the manifest`],
    [seen.layerGets <= mostGets, `${seen.layerGets} GETs of the layer`],
    [seen.rangedGets === seen.layerGets - 1, `${seen.rangedGets} ranged GETs of ${seen.layerGets}`],
    [interruption !== 'none' || seen.firstByteBehindMs <= 100, `the first byte came ${seen.firstByteBehindMs} ms late`],
    [interruption === 'none' || seen.longestPauseMs <= 6_000, `a client waited ${seen.longestPauseMs} ms`],
  ];
  return checks.flatMap(([isRight, problem]) => (isRight ? [] : [`${titles[interruption]}: ${problem}`]));
}

function rowOf(interruption: Interruption, seen: Together): string {
  const cells = [
    titles[interruption],
    `${seen.rightDigests} of ${herd.clients}`,
    seen.tagRequests,
    seen.manifestGets,
    `${seen.layerGets}${seen.rangedGets > 0 ? `, of which ${seen.rangedGets} for the rest` : ''}`,
    `${Math.round(seen.firstByteBehindMs)} ms`,
    `${(seen.longestPauseMs / 1_000).toFixed(1)} s`,
    `${seen.seconds.toFixed(1)} s`,
  ];
  return `| ${cells.join(' | ')} |`;
}

function pageOf(rows: readonly string[], problems: readonly string[]): string {
  return `# Replicas: one download

${herd.clients} clients pull one image by tag at the same moment, through three replicas behind a TCP proxy that spreads connections in turn. None of them
has it. Its layer has ${herd.mebibytes} MiB. Every client verifies what it gets. The upstream sends the first half as fast as the slowest client takes it. In the middle of the layer, something happens to the replica that
downloads it; its clients are cut, and go on at another one with a range.

| what happens to it | right digests | requests for the tag | GETs of the manifest | GETs of the layer | first byte behind the upstream's, median | longest pause of a client | in all |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
${rows.join('\n')}

${problems.length === 0 ? 'No promise was broken.' : problems.map((problem) => `- ${problem}`).join('\n')}

${new Date().toISOString().slice(0, 10)}, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}. Clients, replicas, upstream and proxy share the processors; the load of
15 minutes was ${loadavg()[2]?.toFixed(0)}.

\`npm run replicas\` repeats this and writes this page. Every test run does it with 8 MiB (\`test/replicas/one-download.test.ts\`).
`;
}

const rows: string[] = [];
const problems: string[] = [];
for (const interruption of interruptions) {
  const seen = await measure(interruption);
  process.stdout.write(`${interruption}: ${JSON.stringify(seen)}\n`);
  rows.push(rowOf(interruption, seen));
  problems.push(...problemsWith(interruption, seen));
}
await writeFile(join(import.meta.dirname, '../docs/replicas.md'), pageOf(rows, problems));
for (const problem of problems) process.stderr.write(`${problem}\n`);
process.exit(problems.length === 0 ? 0 : 1);
