import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run, startProcess } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

test('the command watches a node until SIGTERM, and removes what it wrote', async () => {
  const directory = await temporaryDirectory();
  const [root, settings, ready] = [join(directory, 'root'), join(directory, 'settings.json'), join(directory, 'ready')];
  await mkdir(root);
  await writeFile(
    settings,
    JSON.stringify({ owner: 'test', runtime: 'containerd', mirrors: ['http://{nodeIP}:30500'], registries: [] }),
  );
  const command = ['src/main.ts', 'node-configuration', '--settings', settings, '--root', root];
  const watcher = startProcess(process.execPath, [...command, '--watch', '--ready-file', ready], {
    env: { NODE_IP: '10.0.0.7' },
  });
  await expect.poll(() => readdir(directory), { timeout: 10_000 }).toContain('ready');
  expect(await readdir(join(root, 'etc/containerd/certs.d'))).toEqual(['_default']);
  expect(await watcher.stop({ graceMs: 5_000 })).toMatchObject({ code: 0 });
  expect(watcher.stdout).toContain('"action":"write"');

  const { stdout } = await run(process.execPath, [...command, '--remove']);
  expect(stdout).toContain('"action":"remove"');
  expect(await readdir(join(root, 'etc/containerd/certs.d'))).toEqual([]);
});
