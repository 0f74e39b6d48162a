import { randomUUID } from 'node:crypto';
import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { RedisConnection } from '../src/cluster/redis/connection.ts';
import { RedisIndex } from '../src/index/redis/redis-index.ts';
import { systemClock } from '../src/mirror/ports/clock.ts';
import { type Digest, digestOf } from '../src/oci/digest.ts';
import { ociManifest } from '../src/oci/media-types.ts';
import { parseRepository } from '../src/oci/reference.ts';
import { freePort } from '../test/support/free-port.ts';
import { TestRedis } from '../test/support/redis.ts';
import { machineFacts } from './machine.ts';
import { findTools } from './tools.ts';

// What a view of a store takes of Redis: `node bench/redis-memory.ts [--report]`. The report is bench/REDIS-MEMORY.md.

const limitBytes = 700;
const blobsPerRepository = 100;
const blobsPerManifest = 10;
const blobsPerStep = 50;

interface Row {
  readonly blobs: number;
  readonly what: string;
  readonly bytesPerBlob: number;
  readonly blobsPerSecond: number;
  readonly longestScriptMs: number;
}

const noStoredLinks = { borrowable: async () => [], linked: () => {}, names: () => {}, forget: () => {} };
const nothing = { bytes: 0, manifestBytes: 0, diskBytes: 0, keptBytes: 0, manifests: 0, blobs: 0, records: 0 };
const never = new AbortController().signal;

async function startedIndex(redis: TestRedis): Promise<RedisIndex> {
  const observer = { internalError: ({ cause }: { cause: unknown }) => process.stderr.write(`${String(cause)}\n`) };
  const index = new RedisIndex({
    redis: new RedisConnection({
      name: 'index',
      settings: redis.settings,
      clock: systemClock,
      observer: { redisAnswered: () => {}, redisChanged: () => {} },
    }),
    keyPrefix: 'layerwell',
    storeId: async () => randomUUID().slice(0, 20),
    runs: { run: 'bench', lastRun: undefined },
    clock: systemClock,
    countStore: async () => nothing,
    storedLinks: noStoredLinks,
    observer,
  });
  await index.start();
  await index.completeRebuild({ signal: never });
  return index;
}

const numberIn = async (redis: TestRedis, section: string, field: string): Promise<number> => {
  const line = (await redis.ask('INFO', section)).split('\n').find((one) => one.startsWith(`${field}:`));
  return Number(line?.split(':')[1]);
};

async function longestScriptMs(redis: TestRedis): Promise<number> {
  const answer = await redis.ask(
    'EVAL',
    `local most = 0 for _, entry in ipairs(redis.call('SLOWLOG', 'GET', -1)) do most = math.max(most, entry[3]) end return most`,
    '0',
  );
  return Number(answer) / 1_000;
}

async function measure(blobs: number, withManifests: boolean, folder: string): Promise<Row> {
  const redis = new TestRedis(await freePort(), folder, {
    config: ['slowlog-log-slower-than 2000', 'slowlog-max-len 1000'],
  });
  await redis.start();
  const index = await startedIndex(redis);
  try {
    const before = await numberIn(redis, 'memory', 'used_memory');
    const startedAtMs = performance.now();
    for (let at = 0; at < blobs; at += blobsPerStep) {
      recordSome(index, at, withManifests);
      await index.settled({ signal: never });
    }
    const seconds = (performance.now() - startedAtMs) / 1_000;
    const bytes = (await numberIn(redis, 'memory', 'used_memory')) - before;
    const what = withManifests ? `one link each, ${blobsPerManifest} named by a manifest with a link` : 'one link each';
    const perBlob = { bytesPerBlob: bytes / blobs, blobsPerSecond: blobs / seconds };
    return { blobs, what, ...perBlob, longestScriptMs: await longestScriptMs(redis) };
  } finally {
    await index.stop();
    await redis.kill();
  }
}

function recordSome(index: RedisIndex, from: number, withManifests: boolean): void {
  const usedAtMs = 1_800_000_000_000 + from;
  const named: Digest[] = [];
  for (let number = from; number < from + blobsPerStep; number += 1) {
    const name = `team-${Math.floor(number / blobsPerRepository)}/application`;
    const repositoryId = { upstream: 'registry.example', repository: parseRepository(name) };
    const digest = digestOf(Buffer.from(String(number)));
    const size = 10_000_000 + number;
    index.recordContent({ digest, size, isManifest: false, names: [], usedAtMs });
    index.recordLink({ repositoryId, kind: 'blob', digest, mediaType: undefined, size });
    named.push(digest);
    if (!withManifests || named.length < blobsPerManifest) continue;
    const manifest = digestOf(Buffer.from(`manifest ${number}`));
    index.recordContent({ digest: manifest, size: 2_000, isManifest: true, names: named.splice(0), usedAtMs });
    index.recordLink({ repositoryId, kind: 'manifest', digest: manifest, mediaType: ociManifest, size: 2_000 });
  }
}

function reportOf(rows: readonly Row[], machine: readonly string[]): string {
  const whole = (value: number) => Math.round(value).toLocaleString('en-US');
  return `# What a view of a store takes of Redis

By \`node bench/redis-memory.ts --report\`. At most ${limitBytes} bytes for a blob with one link. Where a manifest names the blobs, each has its share of the
manifest too. A script that takes longer than usual was interrupted by other programs: the machine was busy.

${machine.map((fact) => `- ${fact}`).join('\n')}

| Blobs | With | Bytes for each blob | Blobs written per second | Longest script, ms |
|---:|---|---:|---:|---:|
${rows.map((row) => `| ${whole(row.blobs)} | ${row.what} | ${whole(row.bytesPerBlob)} | ${whole(row.blobsPerSecond)} | ${row.longestScriptMs.toFixed(1)} |`).join('\n')}
`;
}

const { values } = parseArgs({ options: { report: { type: 'boolean', default: false } } });
const rows: Row[] = [];
for (const blobs of [100_000, 1_000_000])
  for (const withManifests of [false, true]) {
    await using folder = await mkdtempDisposable(join(tmpdir(), 'redis-memory-'));
    rows.push(await measure(blobs, withManifests, folder.path));
    process.stderr.write(`${JSON.stringify(rows.at(-1))}\n`);
  }
// Of the machine and of this program; the others are not measured.
const machine = (await machineFacts(await findTools(process.env['PATH'] ?? ''), 'src/main.ts')).slice(0, 3);
const report = reportOf(rows, machine);
process.stdout.write(report);
if (values.report) await writeFile(join(import.meta.dirname, 'REDIS-MEMORY.md'), report);
if (rows.some(({ what, bytesPerBlob }) => what === 'one link each' && bytesPerBlob > limitBytes)) process.exitCode = 1;
