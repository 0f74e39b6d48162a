import { expect, test } from 'vitest';
import { askApi } from '../support/api-answers.ts';
import { open } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { pump } from '../support/fake-answer.ts';
import { image, randomBlob } from '../support/images.ts';
import { pullAll, pullManifest } from '../support/pull.ts';
import { startApp } from '../support/start-app.ts';

test('a download is told with how far it is, until it has ended', async () => {
  const hub = await startFakeRegistry();
  const [size, name] = [4 * 1024 * 1024, 'library/big'];
  const blob = randomBlob(size);
  hub.content.addBlob(name, blob);
  const body = pump();
  hub.script({ path: /blobs/ }, { pump: body });
  const app = await startApp({ upstreams: { 'docker.io': { url: hub.url } } });
  expect((await askApi(app, '/api/v1/downloads')).body).toEqual({ items: [] });
  body.release(1024 * 1024);
  const pulling = await open(app, `/v2/${name}/blobs/${blob.digest}`);
  await pulling.read(512 * 1024);
  const { items } = Object((await askApi(app, '/api/v1/downloads')).body);
  expect(items).toEqual([
    {
      name: `docker.io/${name}`,
      registry: 'docker.io',
      repository: name,
      digest: blob.digest,
      receivedBytes: expect.any(Number),
      totalBytes: size,
    },
  ]);
  expect(items[0].receivedBytes).toBeGreaterThanOrEqual(512 * 1024);
  expect(items[0].receivedBytes).toBeLessThan(size);
  body.release(size);
  await pulling.rest();
  await app.quiet();
  expect((await askApi(app, '/api/v1/downloads')).body).toEqual({ items: [] });
});

test('what is evicted next is told first, with the names that it is known by', async () => {
  const hub = await startFakeRegistry();
  const app = await startApp({ upstreams: { 'docker.io': { url: hub.url } } });
  for (const tag of ['old', 'new']) {
    hub.content.add('library/app', tag, image({ name: tag }));
    await pullAll(app, 'library/app', tag);
    app.clock.advance(3_600_000);
  }
  await app.quiet();
  const first = async () => Object((await askApi(app, '/api/v1/storage/evictions?limit=1')).body)['items'];
  await expect.poll(first).toEqual([
    {
      digest: expect.stringMatching(/^sha256:/),
      kind: 'manifest',
      bytes: expect.any(Number),
      usedAt: expect.any(String),
      repositories: ['docker.io/library/app'],
      tags: ['docker.io/library/app:old'],
    },
  ]);
  await pullManifest(app, 'library/app', 'old');
  await expect.poll(async () => (await first())[0].tags).toEqual(['docker.io/library/app:new']);
  for (const limit of ['0', '100', 'x'])
    expect((await askApi(app, `/api/v1/storage/evictions?limit=${limit}`)).status).toBe(400);
});
