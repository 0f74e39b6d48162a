import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { image } from '../support/images.ts';
import { startProcess } from '../support/processes.ts';
import { pullAll } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { storeOnDisk } from '../support/store-on-disk.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

test('a second process does not run beside the first when the lock file was removed', async () => {
  const upstream = await startFakeRegistry();
  const mirror = await startMirror(mirrorOf(upstream));
  for (const name of await readdir(mirror.dataDirectory)) {
    if (name.startsWith('lock.sqlite')) await rm(join(mirror.dataDirectory, name));
  }
  const ports = { listen: { port: await freePort() }, management: { port: await freePort() } };
  const index = { path: join(await temporaryDirectory(), 'index.sqlite') };
  await mirror.writeConfig(mirrorOf(upstream, { ...ports, storage: { path: mirror.dataDirectory }, index }));
  const second = startProcess(process.execPath, ['src/main.ts', 'serve', '--config', mirror.configFile]);
  expect(await second.exited).toEqual({ code: 1, signal: null });
  expect(second.stderr).toContain('is in use by another process');
});

test('a mirror whose store was renamed serves, stores nothing in its place, and is not ready', async () => {
  const upstream = await startFakeRegistry();
  const [before, after] = [image({ name: 'before' }), image({ name: 'after' })];
  upstream.content.add('team/before', '1', before);
  upstream.content.add('team/after', '1', after);
  const app = await startApp(mirrorOf(upstream));
  await pullAll(app, 'team/before', '1');
  await app.quiet();
  await rename(app.dataDirectory, `${app.dataDirectory}.old`);

  const other = await startApp(mirrorOf(upstream, { storage: { path: app.dataDirectory } }));
  await pullAll(app, 'team/after', '1');
  await app.quiet();
  expect((await storeOnDisk(app.dataDirectory)).blobs.size).toBe(0);
  const answer = await fetch(`${app.managementUrl}/readyz`);
  expect(answer.status).toBe(503);
  expect(await answer.json()).toMatchObject({ store: 'moved' });
  await other.stop();
});
