import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';

const repository = 'library/app';
const tagPath = `/v2/${repository}/manifests/1`;
const images = ['one', 'two', 'three'].map((name) => image({ name }));
const unhandled = 'layerwell_unhandled_rejections_total';

test('clients that leave a few milliseconds after requesting a moved tag do not end the process', async () => {
  const upstream = await startFakeRegistry();
  const mirror = await startMirror(mirrorOf(upstream, { freshness: { tag: '0s' } }));
  for (let attempt = 0; attempt < 48; attempt += 1) {
    upstream.content.add(repository, '1', image({ name: `moved ${attempt}` }));
    const leaving = new AbortController();
    const answer = fetch(`${mirror.url}${tagPath}`, { signal: leaving.signal });
    await Promise.race([answer.catch(() => {}), sleep(1 + (attempt % 12))]);
    leaving.abort();
    await answer.then((response) => response.body?.cancel()).catch(() => {});
  }
  expect((await ask(mirror, tagPath)).status).toBe(200);
  expect((await mirror.metrics()).sum(unhandled)).toBe(0);
});

test('a client that leaves while its moved tag is read from disk causes no unhandled rejection', async () => {
  const upstream = await startFakeRegistry();
  const [one, two] = images;
  if (!one || !two) throw new Error('no images');
  upstream.content.add(repository, '1', one);
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream, { freshness: { tag: '0s' } }), { files });
  await ask(app, tagPath);
  upstream.content.add(repository, '1', two);
  const [looking, found] = [gate(), gate()];
  files.before = async ({ operation, path }) => {
    if (operation !== 'open' || !path.includes(two.manifest.digest.slice(7))) return;
    looking.open();
    await found.opened;
  };
  const leaving = new AbortController();
  const answer = fetch(`${app.url}${tagPath}`, { signal: leaving.signal });
  await looking.opened;
  leaving.abort();
  await expect(answer).rejects.toThrow('aborted');
  await expect.poll(() => app.logLines.some(({ msg, aborted }) => msg === 'request' && aborted === true)).toBe(true);
  found.open();
  await expect.poll(async () => (await ask(app, tagPath)).body.equals(two.manifest.bytes)).toBe(true);
});
