import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { startProcess } from '../support/processes.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { startApp } from '../support/start-app.ts';
import {
  type Fault,
  faults,
  type MirrorConfig,
  mirrorOf,
  type RunningMirror,
  startMirror,
} from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { writeHelper } from '../support/write-helper.ts';

const repository = 'library/app';
const built = image({ layerBytes: 500_000 });
const layer = built.blobs[1] ?? built.manifest;
const blobPath = `/v2/${repository}/blobs/${layer.digest}`;
/** Time for a busy machine; a hanging mirror would never end. */
const soonMs = 15_000;

async function startedWith(
  shutdown: object,
  fault?: Fault,
  more: MirrorConfig = {},
  env: Readonly<Record<string, string>> = {},
): Promise<RunningMirror> {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', built);
  const pipe = join(await temporaryDirectory(), 'pipe');
  execFileSync('mkfifo', [pipe]);
  const options = { env: { TEST_PIPE: pipe, ...env }, ...(fault && { fault }) };
  return startMirror(mirrorOf(upstream, { shutdown, ...more }), options);
}

async function endsSoon(mirror: RunningMirror) {
  const askedAt = performance.now();
  const exit = await mirror.exited;
  expect(performance.now() - askedAt).toBeLessThan(soonMs);
  return exit;
}

async function withHungFsync(shutdown: object): Promise<RunningMirror> {
  const mirror = await startedWith(shutdown, 'fsync-hangs');
  mirror.send('SIGUSR2');
  await mirror.logged(({ msg }) => msg === 'fsync hangs');
  expect((await ask(mirror, blobPath)).body.equals(layer.bytes)).toBe(true);
  return mirror;
}

test('a mirror with a hanging fsync ends soon after the deadline, logs what did not stop, and the next start serves', async () => {
  const mirror = await withHungFsync({ drain: '200ms' });
  mirror.send('SIGTERM');
  expect(await endsSoon(mirror)).toEqual({ code: 1, signal: null });
  expect(mirror.printed).toMatch(/some parts did not stop cleanly: .*stopping mirror: it did not end/);
  await mirror.start(mirror.config);
  expect((await ask(mirror, blobPath)).body.equals(layer.bytes)).toBe(true);
});

test('a mirror with a hanging fsync ends at once at a second signal, however long the deadline', async () => {
  const mirror = await withHungFsync({ drain: '1h' });
  mirror.send('SIGTERM');
  await mirror.logged(({ msg }) => msg === 'draining');
  mirror.send('SIGTERM');
  expect(await endsSoon(mirror)).toEqual({ code: 1, signal: null });
});

test('a mirror with hanging name lookups ends once it has stopped, before the deadline', async () => {
  const upstreams = { 'docker.io': { url: 'http://registry.test' } };
  const mirror = await startedWith({ drain: '200ms' }, 'lookup-hangs', { upstreams });
  const pull = ask(mirror, blobPath).catch(() => 'cut');
  await mirror.logged(({ msg }) => msg === 'a lookup hangs');
  mirror.send('SIGTERM');
  await mirror.logged(({ msg }) => msg === 'stopped');
  expect(await endsSoon(mirror)).toEqual({ code: 0, signal: null });
  expect(await pull).toBe('cut');
});

test('a check that waits for a hanging name lookup ends at a signal', async () => {
  const directory = await temporaryDirectory();
  const [file, pipe] = [join(directory, 'mirror.config.json'), join(directory, 'pipe')];
  execFileSync('mkfifo', [pipe]);
  await writeFile(file, JSON.stringify({ upstreams: { 'docker.io': { url: 'http://registry.test' } } }));
  const args = ['--import', faults, 'src/main.ts', 'check', '--online', '--config', file];
  const check = startProcess(process.execPath, args, { env: { TEST_FAULT: 'lookup-hangs', TEST_PIPE: pipe } });
  await check.waitUntil(({ stdout }) => stdout.includes('a lookup hangs'));
  check.send('SIGTERM');
  expect(await check.exited).toEqual({ code: 143, signal: null });
});

/** Whether a process runs; one that has ended stays in the list until its parent looks. */
async function isRunning(pid: number): Promise<boolean> {
  return (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) !== '';
}

test('a credential helper that hangs, and what it started, end with the mirror', async () => {
  const directory = await temporaryDirectory();
  const pids = join(directory, 'pids');
  const helper = await writeHelper(directory, 'helper', `sleep 600 & echo "$$ $!" > ${pids}; wait`);
  const credentials = [{ kind: 'exec', command: helper.path, timeout: '1h' }];
  const upstream = await startFakeRegistry({ auth: { kind: 'basic', username: 'robot', password: 's3cr3t' } });
  const mirror = await startMirror({
    defaultUpstream: 'docker.io',
    upstreams: { 'docker.io': { url: upstream.url, credentials, visibility: 'service', allowAnonymous: true } },
    shutdown: { drain: '200ms' },
  });
  const pull = ask(mirror, blobPath).catch(() => 'cut');
  const started = async () => (await readFile(pids, 'utf8').catch(() => '')).trim().split(' ').map(Number);
  await expect.poll(started, { timeout: soonMs }).toHaveLength(2);
  process.kill(mirror.pid, 'SIGTERM'); // Not its group, as a container runtime does.
  expect(await endsSoon(mirror)).toEqual({ code: 0, signal: null });
  await pull;
  for (const pid of await started()) await expect.poll(() => isRunning(pid)).toBe(false);
});

/** All threads hang, and its output is not read. */
async function withAllHung(shutdown: object): Promise<RunningMirror> {
  const mirror = await startedWith(shutdown, 'fsync-hangs', {}, { UV_THREADPOOL_SIZE: '1' });
  mirror.send('SIGUSR2');
  await mirror.logged(({ msg }) => msg === 'fsync hangs');
  void ask(mirror, blobPath).catch(() => {});
  await mirror.logged(({ msg }) => msg === 'an fsync hangs');
  mirror.stopReading();
  await ask(mirror, '/v2/');
  return mirror;
}

test('a mirror whose threads all hang and whose stdout is not read ends soon after the deadline', async () => {
  const mirror = await withAllHung({ drain: '200ms' });
  mirror.send('SIGTERM');
  expect((await endsSoon(mirror))?.code).toBe(1);
});

test('a mirror whose threads all hang and whose stdout is not read ends at a second signal, however long the deadline', async () => {
  const mirror = await withAllHung({ drain: '1h' });
  mirror.send('SIGTERM');
  const readiness = async () => (await fetch(`${mirror.managementUrl}/readyz`)).text();
  await expect.poll(readiness, { timeout: soonMs }).toContain('"isDraining":true');
  mirror.send('SIGTERM');
  expect((await endsSoon(mirror))?.code).toBe(1);
});

test('five upstreams whose name lookups hang do not delay pulls from another upstream', async () => {
  const good = await startFakeRegistry();
  good.content.add(repository, '1', built);
  const names = Array.from({ length: 5 }, (_, nth) => `hanging-${nth}.test`);
  const hanging = Object.fromEntries(names.map((name) => [name, { url: `http://${name}` }]));
  const upstreams = { ...hanging, 'docker.io': { url: good.url.replace('127.0.0.1', 'localhost') } };
  const mirror = await startedWith({ drain: '200ms' }, 'lookup-hangs', { upstreams });
  for (const name of names) void ask(mirror, `${blobPath}?ns=${name}`).catch(() => {});
  expect((await ask(mirror, blobPath)).body.equals(layer.bytes)).toBe(true);
});

test('a mirror with a stalled reader of stdout keeps serving, drops log lines and counts them, and stops in time', async () => {
  const mirror = await startedWith({ drain: '1s' });
  mirror.stopReading();
  const long = 'x'.repeat(12_000);
  const dropped = async () => (await mirror.metrics()).sum('layerwell_log_lines_dropped_total');
  for (let round = 0; round < 50 && (await dropped()) === 0; round += 1) {
    const asked = Array.from({ length: 20 }, () => ask(mirror, `/v2/${long}`));
    for (const { status } of await Promise.all(asked)) expect(status).toBeLessThan(500);
  }
  expect(await dropped()).toBeGreaterThan(0);
  expect((await ask(mirror, blobPath)).body.equals(layer.bytes)).toBe(true);
  mirror.send('SIGTERM');
  expect(await endsSoon(mirror)).toEqual({ code: 0, signal: null });
});

test('a download that has only just started ends before the store is released', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', built);
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream), { files });
  const [making, made] = [gate(), gate()];
  files.before = async ({ operation, path }) => {
    if (operation !== 'open' || !path.includes('/incoming/')) return;
    making.open();
    await made.opened;
  };
  const leaving = new AbortController();
  const pull = fetch(`${app.url}${blobPath}`, { signal: leaving.signal });
  await making.opened;
  leaving.abort();
  await expect(pull).rejects.toThrow('aborted');
  const stopped = app.stop(60_000).then(() => 'stopped');
  const first = await Promise.race([stopped, endOfOtherParts(app)]);
  made.open();
  expect(first).toBe('other parts have ended');
  await stopped;
  const asked = files.calls.length;
  for (let turn = 0; turn < 10; turn += 1) await nextTurn();
  expect(files.calls).toHaveLength(asked);
});

/** Clients' listener stops before the mirror does, and the management listener after it. */
async function endOfOtherParts({
  url,
  managementUrl,
}: {
  readonly url: string;
  readonly managementUrl: string;
}): Promise<string> {
  await expect.poll(() => fetch(url).catch(() => undefined)).toBeUndefined();
  expect(await (await fetch(`${managementUrl}/readyz`)).text()).toContain('isDraining');
  for (let turn = 0; turn < 100; turn += 1) await nextTurn();
  return 'other parts have ended';
}
