import { mkdir, mkdtempDisposable, utimes, writeFile } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { SharedSweep } from '../src/app/bucket/sweep.ts';
import { BucketCount } from '../src/cluster/bucket/bucket-count.ts';
import { MemoryBudget } from '../src/mirror/concurrency/memory-budget.ts';
import { systemClock } from '../src/mirror/ports/clock.ts';
import type { RepositoryId } from '../src/mirror/ports/repository-id.ts';
import { type Digest, digestOf } from '../src/oci/digest.ts';
import { ociManifest } from '../src/oci/media-types.ts';
import { parseRepository, parseTag } from '../src/oci/reference.ts';
import { DurableFolders } from '../src/storage/filesystem/durable-folders.ts';
import { nodeFiles } from '../src/storage/filesystem/file-system.ts';
import { BucketLayout } from '../src/storage/s3/bucket-layout.ts';
import { BucketStorage } from '../src/storage/s3/bucket-storage.ts';
import { startBucket } from '../test/support/bucket.ts';
import { MemoryBlobs } from '../test/support/memory-blobs.ts';
import { MemoryRecords } from '../test/support/memory-records.ts';
import { RecordingObserver } from '../test/unit/upstream/recording-observer.ts';
import { machineFacts } from './machine.ts';
import { findTools } from './tools.ts';

// How fast a sweep makes its view of a bucket, with versitygw on this machine: `node bench/bucket-view.ts [--report]`. The report is
// bench/BUCKET-VIEW.md.

const leastPerSecond = 5_000;

interface Shape {
  readonly what: string;
  readonly repositories: number;
  readonly imagesPerRepository: number;
  /** Of each image. No other image has them. */
  readonly layers: number;
}

const shapes: readonly Shape[] = [
  { what: 'images of 10 layers, each with a tag', repositories: 50, imagesPerRepository: 40, layers: 10 },
  { what: 'images of 4 layers, each with a tag', repositories: 50, imagesPerRepository: 80, layers: 4 },
  { what: 'one repository', repositories: 1, imagesPerRepository: 2_000, layers: 10 },
  {
    what: 'images without layers: a third of the objects are to be read',
    repositories: 50,
    imagesPerRepository: 200,
    layers: 0,
  },
];

interface Sweep {
  readonly calls: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

interface Row {
  readonly what: string;
  readonly objects: number;
  /** One that removes a blob: it needs the whole view. */
  readonly whole: Sweep;
  /** One that has nothing to remove. */
  readonly idle: Sweep;
}

/** A blob that was not used for long. */
async function addOldBlob(directory: string): Promise<void> {
  const bytes = Buffer.from('old');
  const path = join(directory, new BucketLayout('').blob(digestOf(bytes)));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
  await utimes(path, 1_700_000_000, 1_700_000_000);
}

/** The objects of one image: those that a replica that pulled it uploads. Keys and bytes. */
function objectsOf(layout: BucketLayout, repositoryId: RepositoryId, name: string, layers: number) {
  const objects: { readonly key: string; readonly bytes: string }[] = [];
  const put = (key: string, bytes: string) => objects.push({ key, bytes });
  const described = Array.from({ length: layers }, (_, layer) => {
    const bytes = `${name} ${layer}`;
    const digest: Digest = digestOf(Buffer.from(bytes));
    put(layout.blob(digest), bytes);
    const record = { firstServedAtMs: 1_800_000_000_000, size: bytes.length };
    put(layout.record({ kind: 'blob', repositoryId, digest }), JSON.stringify(record));
    return { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: bytes.length };
  });
  const bytes = JSON.stringify({ schemaVersion: 2, mediaType: ociManifest, layers: described, annotations: { name } });
  const digest = digestOf(Buffer.from(bytes));
  put(layout.blob(digest), bytes);
  const record = { mediaType: ociManifest, size: bytes.length, firstServedAtMs: 1_800_000_000_000 };
  const links = described.map((layer) => layer.digest);
  put(layout.record({ kind: 'manifest', repositoryId, digest }), JSON.stringify({ ...record, links }));
  const tag = parseTag(`v${name.replace('/', '-')}`);
  const found = { tag, digest, mediaType: ociManifest, size: bytes.length, confirmedAtMs: 1_800_000_000_000 };
  put(layout.record({ kind: 'tag', repositoryId, tag }), JSON.stringify(found));
  return objects;
}

/** Puts them where the server has its objects: they are files. */
async function fill(directory: string, { repositories, imagesPerRepository, layers }: Shape): Promise<number> {
  const layout = new BucketLayout('');
  let count = 0;
  for (let repository = 0; repository < repositories; repository += 1) {
    const repositoryId = {
      upstream: 'registry.example',
      repository: parseRepository(`team-${repository}/application`),
    };
    for (let image = 0; image < imagesPerRepository; image += 1)
      for (const { key, bytes } of objectsOf(layout, repositoryId, `${repository}/${image}`, layers)) {
        await mkdir(dirname(join(directory, key)), { recursive: true });
        await writeFile(join(directory, key), bytes);
        count += 1;
      }
  }
  return count;
}

async function measure(shape: Shape, folder: string): Promise<Row> {
  const cleanUps: (() => Promise<void>)[] = [];
  const server = await startBucket((cleanUp) => void cleanUps.push(cleanUp));
  const observer = new BenchObserver();
  const bucket = new BucketStorage({
    settings: server.settings,
    path: folder,
    local: {
      store: Object.assign(new MemoryBlobs(), { readAll: async () => undefined }),
      records: new MemoryRecords(),
    },
    memory: new MemoryBudget({ maxBytes: 256 * 1024 * 1024 }),
    clock: systemClock,
    observer,
  });
  const sweep = new SharedSweep({
    bucket,
    limits: { maxBytes: Number.MAX_SAFE_INTEGER, unusedForMs: 24 * 3_600_000, keep: [] },
    path: join(folder, 'shared-index.sqlite'),
    files: new DurableFolders({ files: nodeFiles }),
    clock: systemClock,
    observer,
    count: new BucketCount({ clock: systemClock }),
    isFirst: () => true,
  });
  const { signal } = new AbortController();
  try {
    const objects = await fill(server.directory, shape);
    await addOldBlob(server.directory);
    const timed = async (): Promise<Sweep> => {
      const [startedAtMs, cpu, callsBefore] = [performance.now(), process.cpuUsage(), observer.calls];
      await sweep.sweep({ signal });
      const seconds = (performance.now() - startedAtMs) / 1_000;
      const { user, system } = process.cpuUsage(cpu);
      return { calls: observer.calls - callsBefore, seconds, cpuSeconds: (user + system) / 1e6 };
    };
    const whole = await timed();
    return { what: shape.what, objects, whole, idle: await timed() };
  } finally {
    await bucket.stop({ signal });
    for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  }
}

class BenchObserver extends RecordingObserver {
  calls = 0;

  bucketAnswered({ outcome }: { readonly outcome: string }): void {
    if (outcome !== 'ok') process.stderr.write(`${outcome}\n`);
    this.calls += 1;
  }

  bucketChanged({ state }: { readonly state: string }): void {
    process.stderr.write(`the bucket: ${state}\n`);
  }

  uploadEnded(): void {}
}

function reportOf(rows: readonly Row[], machine: readonly string[]): string {
  const whole = (value: number) => Math.round(value).toLocaleString('en-US');
  return `# How fast the view of a bucket is made

By \`node bench/bucket-view.ts --report\`: a sweep lists the bucket, reads its manifests, and puts what it learns into SQLite. The aim is
${whole(leastPerSecond)} objects a second. A sweep that has nothing to remove lists the content only. The server is versitygw, whose objects are files; it runs on the
same processors. Each manifest is a GET, of about half a millisecond of processor time here.

${machine.map((fact) => `- ${fact}`).join('\n')}

| Bucket with | Objects | Calls | Objects a second | Processor time, s | With nothing to remove: calls | Seconds |
|---|---:|---:|---:|---:|---:|---:|
${rows.map(rowOf).join('\n')}
`;
}

function rowOf({ what, objects, whole, idle }: Row): string {
  const number = (value: number) => Math.round(value).toLocaleString('en-US');
  const cells = [
    what,
    number(objects),
    number(whole.calls),
    number(objects / whole.seconds),
    whole.cpuSeconds.toFixed(1),
  ];
  return `| ${[...cells, number(idle.calls), idle.seconds.toFixed(1)].join(' | ')} |`;
}

const { values } = parseArgs({ options: { report: { type: 'boolean', default: false } } });
const rows: Row[] = [];
for (const shape of shapes) {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'bucket-view-'));
  rows.push(await measure(shape, folder.path));
  process.stderr.write(`${JSON.stringify(rows.at(-1))}\n`);
}
// Of the machine and of this program; the others are not measured.
const load = `load of the machine: ${loadavg()[0]?.toFixed(0)}`;
const machine = (await machineFacts(await findTools(process.env['PATH'] ?? ''), 'src/main.ts'))
  .slice(0, 3)
  .concat(load);
const report = reportOf(rows, machine);
process.stdout.write(report);
if (values.report) await writeFile(join(import.meta.dirname, 'BUCKET-VIEW.md'), report);
