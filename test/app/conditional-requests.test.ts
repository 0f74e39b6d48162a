import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image, randomBlob } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const other = '"sha256:other"';

async function startWithImage() {
  const upstream = await startFakeRegistry();
  const held = image();
  upstream.content.add(repository, '1', held);
  const app = await startApp(mirrorOf(upstream));
  return { upstream, held, app };
}

test.each([{ storage: {} }, { storage: { maxSize: '1MiB' } }])(
  'a client that already has an uncached blob gets 304, and nothing is downloaded: storage $storage',
  async ({ storage }) => {
    const upstream = await startFakeRegistry();
    const blob = randomBlob(4_000_000);
    upstream.content.addBlob(repository, blob);
    const app = await startApp(mirrorOf(upstream, { storage }));
    const headers = { 'if-none-match': `"${blob.digest}"` };
    const answer = await ask(app, `/v2/${repository}/blobs/${blob.digest}`, { headers });
    expect(answer).toMatchObject({ status: 304, headers: { etag: `"${blob.digest}"` } });
    await app.quiet();
    expect(upstream.requests.map(({ method, sentBytes }) => ({ method, sentBytes }))).toEqual([
      { method: 'HEAD', sentBytes: 0 },
    ]);
  },
);

test('a client that claims to have a blob that the upstream lacks gets 404', async () => {
  const { app } = await startWithImage();
  const { digest } = randomBlob(100);
  const answer = await ask(app, `/v2/${repository}/blobs/${digest}`, { headers: { 'if-none-match': `"${digest}"` } });
  expect(answer.status).toBe(404);
});

test.each([{ by: 'tag' }, { by: 'digest' }])(
  'a client that already has an uncached manifest gets 304 after one HEAD: by $by',
  async ({ by }) => {
    const { upstream, held, app } = await startWithImage();
    const { digest } = held.manifest;
    const path = `/v2/${repository}/manifests/${by === 'tag' ? '1' : digest}`;
    const answer = await ask(app, path, { headers: { 'if-none-match': `"${digest}"` } });
    expect(answer).toMatchObject({ status: 304, headers: { etag: `"${digest}"` } });
    expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD']);
  },
);

test.each([{ by: 'tag' }, { by: 'digest' }])(
  'a client with a different manifest gets the current one: by $by',
  async ({ by }) => {
    const { upstream, held, app } = await startWithImage();
    const path = `/v2/${repository}/manifests/${by === 'tag' ? '1' : held.manifest.digest}`;
    for (const _ of ['uncached', 'cached']) {
      const answer = await ask(app, path, { headers: { 'if-none-match': other } });
      expect(answer.status).toBe(200);
      expect(answer.body.equals(held.manifest.bytes)).toBe(true);
    }
    expect(upstream.count('GET')).toBe(1);
  },
);

test('a range beyond the end of a blob that may not fit is answered 416, and nothing is downloaded', async () => {
  const upstream = await startFakeRegistry();
  const blob = randomBlob(4_000_000);
  upstream.content.addBlob(repository, blob);
  const app = await startApp(mirrorOf(upstream, { storage: { maxSize: '1MiB' } }));
  const answer = await ask(app, `/v2/${repository}/blobs/${blob.digest}`, { headers: { range: 'bytes=4000000-' } });
  expect(answer).toMatchObject({ status: 416, headers: { 'content-range': 'bytes */4000000' } });
  expect(upstream.count('GET')).toBe(0);
});
