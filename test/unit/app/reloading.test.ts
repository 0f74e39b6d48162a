import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Reloading, type ReloadResult } from '../../../src/app/reloading.ts';
import { parseConfig, readConfig } from '../../../src/config/loading/load.ts';
import { sha256OfTlsFiles } from '../../../src/config/loading/tls-files.ts';
import { createLog } from '../../../src/telemetry/log.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

const configWith = (tag: string) => JSON.stringify({ upstreams: { 'docker.io': {} }, freshness: { tag } });

/** Puts a file into a folder as the kubelet does for a ConfigMap: the link `..data` is switched to a new folder. */
async function mount(folder: string, text: string, version: string): Promise<void> {
  await mkdir(join(folder, version));
  await writeFile(join(folder, version, 'mirror.config.json'), text);
  await symlink(version, join(folder, '..next'));
  await rename(join(folder, '..next'), join(folder, '..data'));
}

/** A mirror that has read its file, and does not watch it yet. */
async function started(config = configWith('1m')) {
  const folder = await temporaryDirectory();
  await mount(folder, config, '..1');
  const file = join(folder, 'mirror.config.json');
  await symlink('..data/mirror.config.json', file);
  const read = await readConfig(file);
  const results: ReloadResult[] = [];
  const parsed = await parseConfig(read, { file, env: {} });
  const reloading = new Reloading({
    file,
    env: {},
    started: parsed,
    sha256: read.sha256,
    tlsSha256: sha256OfTlsFiles(parsed),
    apply: () => {},
    onEnded: (result) => results.push(result),
    log: createLog({ level: 'silent' }),
    lookEveryMs: 20,
  });
  onTestFinished(() => reloading.stop());
  return { folder, file, reloading, results, tag: () => reloading.current.freshness.tagMs };
}

test('a mounted file that Kubernetes replaces by switching a link is read again', async () => {
  const { folder, file, reloading, results, tag } = await started();
  reloading.start();
  await mount(folder, configWith('2m'), '..2');
  await expect.poll(tag).toBe(120_000);
  expect(results).toEqual([{ isUsed: true, sha256: (await readConfig(file)).sha256, needRestart: [], problems: [] }]);
});

test('a change between the reading of the file and the first look at it is not missed', async () => {
  const { folder, reloading, tag } = await started();
  await mount(folder, configWith('2m'), '..2');
  reloading.start();
  await expect.poll(tag).toBe(120_000);
});

test('a certificate that is renewed between its reading and the first look at it is not missed', async () => {
  const caFile = join(await temporaryDirectory(), 'ca.pem');
  await writeFile(caFile, 'first');
  const { reloading, results } = await started(JSON.stringify({ upstreams: { 'docker.io': { tls: { caFile } } } }));
  await writeFile(caFile, 'second');
  reloading.start();
  await expect.poll(() => results).toHaveLength(1);
});

test('a file that did not change since it was read is not loaded twice', async () => {
  const { reloading, results } = await started();
  reloading.start();
  await reloading.reload();
  expect(results).toHaveLength(1);
});

test('a refused file is told by its hash, and one that needs a restart by its sections', async () => {
  const { folder, file, reloading, results } = await started();
  await mount(folder, configWith('soon'), '..2');
  await reloading.reload();
  const { sha256 } = await readConfig(file);
  const problem = expect.stringContaining('freshness.tag');
  expect(results).toEqual([{ isUsed: false, sha256, needRestart: [], problems: [problem] }]);
  await mount(folder, JSON.stringify({ upstreams: { 'docker.io': {} }, clients: { maxRequests: 7 } }), '..3');
  await reloading.reload();
  expect(results[1]).toMatchObject({ isUsed: true, needRestart: ['clients'] });
});

test('many that ask for a reload while one runs share the next one', async () => {
  const { reloading, results } = await started();
  const asked = Array.from({ length: 100 }, () => reloading.reload());
  await Promise.all(asked);
  expect(results.length).toBeLessThanOrEqual(2);
});
