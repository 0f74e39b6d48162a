import { expect, test } from 'vitest';
import { exported, imported } from '../support/archive.ts';
import { image, multiPlatformImage, referrerOf } from '../support/images.ts';
import { ask } from '../support/client.ts';
import { pullAll } from '../support/pull.ts';
import { startWithJobs } from '../support/start-jobs.ts';

test('what one mirror exports another imports, and serves without an upstream', async () => {
  const source = await startWithJobs();
  const [nginx, redis] = [image({ name: 'nginx', layers: 3 }), multiPlatformImage()];
  source.hub.content.add('library/nginx', '1', nginx);
  source.hub.content.add('library/redis', '7', redis);
  await source.done('warm', { images: ['nginx:1', 'redis:7'] });
  await source.hub.stop();
  const archive = await exported(source, { images: ['nginx:1', 'redis:7'] });

  const target = await startWithJobs();
  await target.hub.stop();
  const { status, body } = await imported(target, archive);
  expect([status, body]).toMatchObject([200, { images: [{ blobs: 4 }, { manifests: 2 }], present: 0 }]);
  expect(JSON.stringify(body)).not.toContain('problem');
  await pullAll(target.app, 'library/nginx', '1');
  const { body: index } = await ask(target.app, '/v2/library/redis/manifests/7');
  expect(index).toEqual(redis.manifest.bytes);
  expect((await imported(target, archive)).body).toMatchObject({ written: 0, bytes: 0 });
});

test('an image that is not whole in the cache is not exported, and the answer lists what is missing', async () => {
  const source = await startWithJobs();
  const nginx = image({ layers: 2 });
  source.hub.content.add('library/nginx', '1', nginx);
  await ask(source.app, '/v2/library/nginx/manifests/1');
  await expect(exported(source, { images: ['nginx:1', 'redis:7'] })).rejects.toThrow(
    /answered 404.*layerwell warm.*nginx:1: sha256:.*the blob is not cached.*redis:7: 7: it is not cached/,
  );
});

test('signatures that are cached go with the image, and are listed by the other mirror', async () => {
  const source = await startWithJobs();
  const nginx = image();
  const signature = referrerOf(nginx.manifest);
  source.hub.content.add('library/nginx', '1', nginx, [signature]);
  await source.done('warm', { images: ['nginx:1'], referrers: true });
  const archive = await exported(source, { images: ['nginx:1'] });
  const without = await exported(source, { images: ['nginx:1'], referrers: false });
  expect(without.byteLength).toBeLessThan(archive.byteLength);

  const target = await startWithJobs();
  await target.hub.stop();
  await imported(target, archive);
  const { body } = await ask(target.app, `/v2/library/nginx/referrers/${nginx.manifest.digest}`);
  expect(JSON.parse(body.toString())).toMatchObject({ manifests: [{ digest: signature.manifest.digest }] });
});

test('an imported tag is what the upstream says as soon as it answers', async () => {
  const source = await startWithJobs();
  source.hub.content.add('library/nginx', '1', image({ name: 'old' }));
  await source.done('warm', { images: ['nginx:1'] });
  const archive = await exported(source, { images: ['nginx:1'] });
  const target = await startWithJobs();
  const now = image({ name: 'new' });
  target.hub.content.add('library/nginx', '1', now);
  await imported(target, archive);
  expect((await ask(target.app, '/v2/library/nginx/manifests/1')).body).toEqual(now.manifest.bytes);
});

test('where nobody says whether a repository is public, an import that says so lets clients read it', async () => {
  const source = await startWithJobs();
  source.hub.content.add('library/nginx', '1', image());
  await source.done('warm', { images: ['nginx:1'] });
  const archive = await exported(source, { images: ['nginx:1'] });
  const credentials = [{ kind: 'basic', username: 'mirror', password: 'secret' }];
  const target = await startWithJobs({ upstream: { credentials, visibility: 'public' } });
  await target.hub.stop();
  await imported(target, archive);
  expect((await ask(target.app, '/v2/library/nginx/manifests/1')).status).not.toBe(200);
  await imported(target, archive, '?public=true');
  await pullAll(target.app, 'library/nginx', '1');
});
