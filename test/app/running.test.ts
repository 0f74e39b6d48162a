import { copyFile, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { image } from '../support/images.ts';
import { run, type StartedProcess, startProcess } from '../support/processes.ts';
import { get, pullAll } from '../support/pull.ts';
import { type MirrorConfig, mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const repository = 'library/app';

/** Starts the program with a configuration that it cannot run with. */
async function endsWith(config: MirrorConfig): Promise<StartedProcess> {
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, JSON.stringify(config));
  const started = startProcess(process.execPath, ['src/main.ts', 'serve', '--config', file]);
  await started.exited;
  return started;
}

/** What it needs besides the one thing that is wrong. */
async function usable(): Promise<MirrorConfig> {
  return {
    listen: { port: await freePort() },
    management: { port: await freePort() },
    storage: { path: join(await temporaryDirectory(), 'data') },
    upstreams: { 'docker.io': { url: 'http://127.0.0.1:9' } },
  };
}

test('a configuration with mistakes is refused: all of them are listed with their keys, and the exit code is 2', async () => {
  const refused = await endsWith({
    ...(await usable()),
    storage: { maxSize: 'huge', pth: './data' },
    freshness: { tag: '5 minutes' },
    upstreams: { 'docker.io': { url: 'ftp://registry' } },
  });
  expect(await refused.exited).toEqual({ code: 2, signal: null });
  const lines = refused.stderr.trimEnd().split('\n');
  expect(lines[0]).toMatch(/mirror\.config\.json is not usable:$/);
  const keys = lines.slice(1).map((line) => /^ {2}- ([^:]+): ./.exec(line)?.[1] ?? '');
  expect(keys.toSorted()).toEqual(['freshness.tag', 'storage.maxSize', 'storage.pth', 'upstreams["docker.io"].url']);
  expect(refused.stdout).toBe('');
});

async function takenPort(): Promise<number> {
  const port = await freePort();
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return port;
}

async function belowAFile(): Promise<string> {
  const file = join(await temporaryDirectory(), 'file');
  await writeFile(file, '');
  return join(file, 'data');
}

const impossible: readonly {
  readonly what: string;
  readonly says: RegExp;
  readonly make: () => Promise<MirrorConfig>;
}[] = [
  {
    what: 'whose port is in use',
    says: /^starting registry listener: cannot listen on 127\.0\.0\.1:\d+: the port is in use.*\n$/,
    make: async () => ({ listen: { port: await takenPort() } }),
  },
  {
    what: 'whose management port is in use',
    says: /^starting management listener: cannot listen on 127\.0\.0\.1:\d+: the port is in use.*\n$/,
    make: async () => ({ management: { port: await takenPort() } }),
  },
  {
    what: 'whose storage path cannot be made',
    says: /^starting store lock: the storage path \/\S+\/file\/data cannot be used: ENOTDIR: .*\n$/,
    make: async () => ({ storage: { path: await belowAFile() } }),
  },
  {
    what: 'that may not write to its storage path',
    says: /^starting \w.*: the storage path \/proc\/1 cannot be used: .*\n$/,
    make: async () => ({ storage: { path: '/proc/1' }, index: { path: join(await temporaryDirectory(), 'index') } }),
  },
  {
    what: 'whose index cannot be made',
    says: /^starting index: the index \/\S+\/file\/data\/index\.sqlite cannot be made: ENOTDIR.*\n$/,
    make: async () => ({ index: { path: join(await belowAFile(), 'index.sqlite') } }),
  },
  {
    what: 'whose certificate is missing',
    says: /^the certificate of the listener cannot be read: ENOENT.*\/nowhere\/tls\.crt.*\n$/,
    make: async () => ({ listen: { port: 0, tls: { certFile: '/nowhere/tls.crt', keyFile: '/nowhere/tls.key' } } }),
  },
];

test.each(impossible)('a mirror $what says so in one line and ends with 1', async ({ says, make }) => {
  const failed = await endsWith({ ...(await usable()), ...(await make()) });
  expect(await failed.exited).toEqual({ code: 1, signal: null });
  expect(failed.stderr).toMatch(says);
  expect(failed.stdout).not.toContain('listening');
});

test('npm start leaves no shell before the mirror, which would take the SIGTERM meant for it', async () => {
  const { scripts } = JSON.parse(await readFile('package.json', 'utf8'));
  expect(scripts.start).toMatch(/^exec node /);
});

test('it logs to stdout when and where it listens, and is healthy and ready from then on', async () => {
  const upstream = await startFakeRegistry();
  const mirror = await startMirror(mirrorOf(upstream));
  expect(mirror.logLines().filter(({ msg }) => msg === 'listening')).toMatchObject([{ address: mirror.url }]);
  const management = { url: mirror.managementUrl };
  expect(await get(management, '/healthz')).toMatchObject({ status: 200 });
  expect(await get(management, '/readyz')).toMatchObject({ status: 200 });
  expect(await get(mirror, '/metrics')).toMatchObject({ status: 404 });
  expect(await get(mirror, '/healthz')).toMatchObject({ status: 404 });
});

test('when it starts, the log and readyz say which upstreams cannot be reached; those that are offline are not asked', async () => {
  const [registry, offline] = [await startFakeRegistry(), await startFakeRegistry()];
  const gone = `http://127.0.0.1:${await freePort()}`;
  const upstreams = {
    'there.test': { url: registry.url },
    'gone.test': { url: gone },
    'behind.test': { url: gone, mirrors: [{ url: registry.url }] },
    'offline.test': { url: offline.url, freshness: { offline: true } },
    '*.pattern.test': {},
  };
  const mirror = await startMirror({ upstreams });
  const told = () => mirror.logLines().filter(({ msg }) => msg === 'upstream');
  await mirror.logged(() => told().length === 3);
  expect(told()).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ upstream: 'there.test', state: 'reachable' }),
      expect.objectContaining({ upstream: 'gone.test', state: 'unreachable', trouble: 'connect' }),
      expect.objectContaining({ upstream: 'behind.test', state: 'reachable' }),
    ]),
  );
  const ready = await fetch(`${mirror.managementUrl}/readyz`);
  expect(ready.status).toBe(200);
  expect(await ready.json()).toMatchObject({
    upstreams: {
      'gone.test': { state: 'unreachable' },
      'offline.test': { state: 'not asked yet' },
      '*.pattern.test': { state: 'not asked yet' },
    },
  });
  expect(registry.count()).toBe(2);
  expect(offline.count()).toBe(0);
});

test('every request is one line of the log, without its query', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image({ layerBytes: 300_000 }));
  const mirror = await startMirror(mirrorOf(upstream));
  const { parts } = await pullAll(mirror, repository, '1');
  await get(mirror, `/v2/${repository}/manifests/1?ns=docker.io&token=hidden-secret`);
  await get(mirror, '/v2/?hidden-secret');
  await get(mirror, '/elsewhere?hidden-secret');
  const size = parts.size + 3;
  await mirror.logged(() => mirror.logLines().filter(({ msg }) => msg === 'request').length >= size);

  const lines = mirror.logLines().filter(({ msg }) => msg === 'request');
  expect(lines).toHaveLength(size);
  expect(lines[0]).toMatchObject({
    method: 'GET',
    path: `/v2/${repository}/manifests/1`,
    status: 200,
    cache: 'miss',
    upstream: 'docker.io',
    repository,
    reference: '1',
    client: '127.0.0.1',
    aborted: false,
  });
  expect(lines.map(({ path }) => path)).toContain('/elsewhere');
  expect(JSON.stringify(mirror.logLines())).not.toContain('hidden-secret');
});

/** Names, types and labels of the page's table. */
async function documented(): Promise<
  ReadonlyMap<string, { readonly type: string; readonly labels: readonly string[] }>
> {
  const page = await readFile('docs/metrics.md', 'utf8');
  const rows = [...page.matchAll(/^\| `(layerwell_\w+)` \| (\w+) \| (.*?) \| (.+) \|$/gm)];
  return new Map(
    rows.map(([, name = '', type = '', labels = '']) => [
      name,
      { type, labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = '']) => label) },
    ]),
  );
}

test('/metrics has every metric of the page and no other, with its type and its labels', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', image());
  const mirror = await startMirror(mirrorOf(upstream));
  await pullAll(mirror, repository, '1');
  await get(mirror, `/v2/${repository}/manifests/none`);
  const page = await documented();
  const text = (await get({ url: mirror.managementUrl }, '/metrics')).bytes.toString('utf8');

  const types = [...text.matchAll(/^# TYPE (layerwell_\w+) (\w+)$/gm)].map(([, name, type]) => `${name} ${type}`);
  expect(types.toSorted()).toEqual([...page].map(([name, { type }]) => `${name} ${type}`).toSorted());
  const series = [...text.matchAll(/^(layerwell_\w+?)(?:_bucket|_sum|_count)?\{(.+)\} \S+$/gm)];
  expect(series.length).toBeGreaterThan(20);
  for (const [, name = '', labels = ''] of series) {
    const used = [...labels.matchAll(/(\w+)="/g)].map(([, label = '']) => label).filter((label) => label !== 'le');
    expect({ name, used: used.toSorted() }).toEqual({ name, used: page.get(name)?.labels.toSorted() });
  }
});

async function processorSeconds(mirror: RunningMirror): Promise<number> {
  const fields = (await readFile(`/proc/${mirror.pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / clockTicksPerSecond;
}

/** sysconf(_SC_CLK_TCK), on every Linux there is. */
const clockTicksPerSecond = 100;

async function residentMiB(mirror: RunningMirror): Promise<number> {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${mirror.pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

/** As it is shipped: without what Node needs to run TypeScript. @returns the file to run. */
async function builtProgram(): Promise<string> {
  const folder = await temporaryDirectory();
  await run('npx', ['tsc', '-p', 'tsconfig.build.json', '--outDir', join(folder, 'dist')]);
  await copyFile('package.json', join(folder, 'package.json'));
  await symlink(resolve('node_modules'), join(folder, 'node_modules'));
  return join(folder, 'dist', 'main.js');
}

test.runIf(process.platform === 'linux')(
  'as shipped, it is ready after less than two seconds of CPU, and uses less than 130 MiB when idle',
  async () => {
    const upstream = await startFakeRegistry();
    const mirror = await startMirror(mirrorOf(upstream), { program: await builtProgram() });
    expect(await get({ url: mirror.managementUrl }, '/readyz')).toMatchObject({ status: 200 });
    // Of the processor, not of the clock on the wall: other tests run beside this one.
    expect(await processorSeconds(mirror)).toBeLessThan(2);
    expect(await residentMiB(mirror)).toBeLessThan(130);
  },
);
