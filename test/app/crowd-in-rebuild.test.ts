import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { holdRebuild } from '../support/held-rebuild.ts';
import { image, randomBlob } from '../support/images.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { startApp } from '../support/start-app.ts';

const repository = 'library/app';
const maxRequests = 20;
const clients = 100;

test('a hundred clients whose upstream fails while the index is being rebuilt take nothing from the others', async () => {
  const [failing, good] = [await startFakeRegistry(), await startFakeRegistry()];
  const wanted = image({ name: 'wanted' });
  good.content.add(repository, 'latest', wanted);
  const files = new ScriptedFiles();
  const upstreams = { 'good.test': { url: good.url }, 'failing.test': { url: failing.url } };
  const app = await startApp({ defaultUpstream: 'good.test', upstreams, clients: { maxRequests } }, { files });
  await app.stop();
  await rm(join(app.dataDirectory, 'index.sqlite'));
  holdRebuild(files);
  await app.restart();
  failing.script({}, { status: 503 });

  const leaving = new AbortController();
  onTestFinished(() => leaving.abort());
  let refused = 0;
  for (let at = 0; at < clients; at += 1) {
    const path = `/v2/${repository}/blobs/${randomBlob(100, `${at}`).digest}?ns=failing.test`;
    fetch(`${app.url}${path}`, { signal: leaving.signal }).then(
      () => (refused += 1),
      () => {}, // It leaves with the test.
    );
  }
  await expect.poll(() => refused, { timeout: 5_000 }).toBe(clients - maxRequests / 2);
  expect(await ask(app, `/v2/${repository}/manifests/latest?ns=good.test`)).toMatchObject({ status: 200 });
});
