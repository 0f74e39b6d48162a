import { execFileSync } from 'node:child_process';
import { open, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { askApi } from '../support/api-answers.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { image } from '../support/images.ts';
import { parseMetrics } from '../support/metrics.ts';
import { pullAll } from '../support/pull.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';

const token = 'a'.repeat(40);
const mib = 1024 * 1024;

/** Another program takes every byte of the disk. */
async function fill(disk: string): Promise<void> {
  await using file = await open(join(disk, 'somebody-else'), 'a');
  for (const size of [256 * 1024, 4096]) {
    const writing = async (): Promise<never> => {
      for (;;) await file.write(Buffer.alloc(size, 1));
    };
    await expect(writing()).rejects.toMatchObject({ code: 'ENOSPC' });
  }
}

/** A mirror with two images in the cache, on a disk of its own of 32 MiB that then has no byte left. */
async function onFullDisk({ isRestarted }: { readonly isRestarted: boolean }) {
  const disk = await temporaryDirectory();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'layerwell-test', disk]);
  onTestFinished(() => void execFileSync('umount', ['--lazy', disk]));
  const upstream = await startFakeRegistry();
  for (const name of ['first', 'second', 'new'])
    upstream.content.add(`${name}/app`, '1', image({ name, layers: 2, layerBytes: mib }));
  const [port, tokenFile] = [await freePort(), join(await temporaryDirectory(), 'token')];
  await writeFile(tokenFile, token);
  const management = { host: '127.0.0.1', port, tokenFile };
  const data = join(disk, 'data');
  const mirror = await startMirror(mirrorOf(upstream, { storage: { path: data, minFree: '0B' }, management }));
  for (const name of ['first', 'second']) await pullAll(mirror, `${name}/app`, '1');
  const hasReserve = () =>
    stat(join(data, 'index.sqlite.reserve')).then(
      ({ size }) => size > 0,
      () => false,
    );
  await expect.poll(hasReserve).toBe(true);
  if (isRestarted) await mirror.stop();
  await fill(disk);
  if (isRestarted) await mirror.restart();
  const api = { managementUrl: `http://127.0.0.1:${port}` };
  const headers = { 'content-type': 'application/json' };
  const purge = (body: object) =>
    askApi(api, '/api/v1/purge', { method: 'POST', token, headers, body: JSON.stringify(body) });
  const metrics = async () => parseMetrics(await (await fetch(`${api.managementUrl}/metrics`)).text());
  return { disk, upstream, mirror, purge, metrics };
}

const states = [
  { state: 'that fills up while the mirror runs', isRestarted: false },
  { state: 'on which the mirror starts', isRestarted: true },
];

const suite = (): void => {
  test.each(states)('lets an operator purge a tag, and a repository: a disk $state', async (state) => {
    const { disk, upstream, mirror, purge } = await onFullDisk(state);
    const tag = await purge({ repository: 'docker.io/first/app', tag: '1' });
    expect([tag.status, tag.body]).toMatchObject([200, { tags: ['1'], kept: 0 }]);
    const repository = await purge({ repository: 'docker.io/second/app' });
    expect([repository.status, repository.body]).toMatchObject([200, { kept: 0 }]);
    await rm(join(disk, 'somebody-else'));
    for (const name of ['first', 'second']) {
      upstream.forgetRequests();
      const { parts } = await pullAll(mirror, `${name}/app`, '1');
      expect(upstream.count('GET', /\/blobs\//)).toBe(parts.size - 1);
    }
  });

  test('lets an operator purge again each time that another program has taken what was freed', async () => {
    const { disk, mirror, purge } = await onFullDisk({ isRestarted: false });
    for (const name of ['first', 'second']) {
      const { status, body } = await purge({ repository: `docker.io/${name}/app` });
      expect([status, body]).toMatchObject([200, { kept: 0 }]);
      await fill(disk);
    }
    await mirror.restart();
    const { status } = await purge({ repository: 'docker.io/second/app' });
    expect(status).toBe(404);
  });

  test('lets an operator purge when another program took what a start on a full disk had freed', async () => {
    const { disk, purge } = await onFullDisk({ isRestarted: true });
    await fill(disk);
    const { status, body } = await purge({ repository: 'docker.io/first/app' });
    expect([status, body]).toMatchObject([200, { kept: 0 }]);
  });

  test('makes room for a new pull by eviction', async () => {
    const { mirror, metrics } = await onFullDisk({ isRestarted: false });
    await pullAll(mirror, 'new/app', '1');
    const evicted = async () => (await metrics()).sum('layerwell_cache_evictions_total', { reason: 'lru' });
    await expect.poll(evicted).toBeGreaterThan(0);
    const { parts } = await pullAll(mirror, 'new/app', '1');
    expect([...parts.values()].filter(({ cache }) => cache.endsWith('stored'))).toEqual([]);
    expect(mirror.logLines().filter(({ part }) => part === 'eviction')).toEqual([]);
  });
};

describeWithTools(['mount', 'umount'], 'a full disk', suite, { asRoot: true });
