import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../test/support/free-port.ts';
import { TestRedis } from '../test/support/redis.ts';
import { type ListTimes, measuredLists, timesOf } from './catalogue/lists.ts';
import { measuredPages, pageLimitMs } from './catalogue/pages.ts';
import { pullsBesideLists } from './catalogue/pulls-beside.ts';
import { limitMs, type Measured, reportOf } from './catalogue/report.ts';
import { type Driver, generateStore, startMirror } from './catalogue/stores.ts';
import { startUpstream } from './contenders/distribution.ts';
import { machineFacts } from './machine.ts';
import { findTools } from './tools.ts';

// How fast the lists of the management API and the pages are: `node bench/catalogue.ts [--report]`. The report is bench/CATALOGUE.md.
// `--only 'tags by size|public'` measures the lists and pages whose names match, and no pulls beside them.

const { values } = parseArgs({
  options: {
    repositories: { type: 'string', default: '10000' },
    tags: { type: 'string', default: '100000' },
    blobs: { type: 'string', default: '200000' },
    times: { type: 'string', default: '100' },
    index: { type: 'string', default: 'sqlite,redis' },
    report: { type: 'boolean', default: false },
    only: { type: 'string' },
  },
});
const isMeasured = ({ name }: { readonly name: string }) => new RegExp(values.only ?? '').test(name);
const counts = {
  repositories: Number(values.repositories),
  tags: Number(values.tags),
  blobs: Number(values.blobs),
};
const interrupt = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => interrupt.abort(new Error(`ended by ${name}`)));
const { signal } = interrupt;
const searchPath = process.env['PATH'] ?? '';
const tools = await findTools(searchPath);

async function measure(driver: Driver): Promise<Measured> {
  await using servers = new AsyncDisposableStack();
  const work = servers.use(await mkdtempDisposable(join(tmpdir(), 'layerwell-catalogue-')));
  const redis = new TestRedis(await freePort(), work.path, {});
  if (driver === 'redis') {
    await redis.start();
    servers.defer(() => redis.kill());
  }
  const place = { driver, folder: work.path, redisUrl: redis.url };
  const startedAtMs = performance.now();
  await generateStore(place, counts);
  const filledInSeconds = (performance.now() - startedAtMs) / 1_000;
  process.stderr.write(`${driver}: filled in ${filledInSeconds.toFixed(0)} s\n`);
  const site = { tools, program: '', folder: join(work.path, 'upstream'), searchPath, signal };
  const upstream = servers.use(await startUpstream(site));
  const mirror = servers.use(await startMirror(place, { upstreamUrl: upstream.url, signal }));
  const lists: ListTimes[] = [];
  for (const list of measuredLists(Date.now()).filter(isMeasured)) {
    signal.throwIfAborted();
    lists.push(await timesOf(mirror.managementUrl, list, Number(values.times)));
  }
  process.stderr.write(`${driver}: lists are measured\n`);
  const pages = await measuredPages(mirror, { upstream, times: Number(values.times), isMeasured, signal });
  process.stderr.write(`${driver}: pages are measured\n`);
  const beside =
    values.only === undefined ? await pullsBesideLists({ mirror, upstream, wrk: tools.wrk, signal }) : undefined;
  const measured = { driver, filledInSeconds, lists, pages, beside };
  process.stderr.write(`${JSON.stringify(measured)}\n`);
  return measured;
}

const measured: Measured[] = [];
for (const driver of values.index.split(',')) {
  if (driver !== 'sqlite' && driver !== 'redis') throw new Error(`--index: expected sqlite or redis, got ${driver}`);
  measured.push(await measure(driver));
}
const machine = [
  ...(await machineFacts(tools, 'src/main.ts')).slice(0, 3),
  `load average at the end: ${(loadavg()[0] ?? 0).toFixed(1)}`,
];
const report = reportOf(measured, { counts, times: Number(values.times), machine });
process.stdout.write(report);
if (values.report && values.only !== undefined) throw new Error('--report: the report has all lists, not --only some');
if (values.report) await writeFile(join(import.meta.dirname, 'CATALOGUE.md'), report);
const isSlow = ({ lists, pages }: Measured) =>
  lists.some(({ medianMs }) => medianMs > limitMs) || pages.some(({ medianMs }) => medianMs > pageLimitMs);
if (measured.some(isSlow)) process.exitCode = 1;
