import { expect, test } from 'vitest';
import { pullBlob } from '../support/pull.ts';
import { areKept, imageOf, imageOver, kib, layer, started, timesFetched } from '../support/bounded-store.ts';

test('where keep fills the bound the rest is served without being stored, verified all the same', async () => {
  const mirror = await started({ maxSize: '1MiB', keep: ['docker.io/kept/*'] });
  const { publish, pull, app, upstream } = mirror;
  const kept = imageOver('kept', layer('kept', 900 * kib));
  publish('kept/app', kept);
  await pull('kept/app');
  const other = layer('other');
  upstream.content.addBlob('other/app', other);

  for (const times of [1, 2]) {
    // A pull that follows at once may share the request of the one before.
    await expect
      .poll(async () => (await pullBlob(app, 'other/app', other.digest)).cache)
      .toBe('fwd=uri-miss; fwd-status=200');
    expect(timesFetched(mirror, other.digest)).toBe(times);
  }
  expect(await areKept(mirror, 'kept/app', [kept.manifest, ...kept.blobs])).not.toContain(false);

  upstream.script({ path: /blobs/ }, { body: (honest) => Buffer.from(honest).fill('x', 200 * kib) });
  await expect(pullBlob(app, 'other/app', other.digest)).rejects.toThrow('terminated');
});

test('a blob that is larger than all the store may hold is served, and nothing goes for it', async () => {
  const mirror = await started({ maxSize: '1MiB', keep: ['docker.io/kept/*'] });
  const { publish, pull, app, upstream } = mirror;
  const small = imageOf('small');
  publish('small/app', small);
  await pull('small/app');
  const huge = layer('huge', 1100 * kib);
  upstream.content.addBlob('huge/app', huge);
  expect((await pullBlob(app, 'huge/app', huge.digest)).cache).toBe('fwd=uri-miss; fwd-status=200');
  expect(await areKept(mirror, 'small/app', [small.manifest, ...small.blobs])).not.toContain(false);
});

test('a blob for which keep leaves no room is served, and nothing goes for it', async () => {
  const mirror = await started({ maxSize: '2MiB', keep: ['docker.io/kept/*'] });
  const { publish, pull, app, upstream } = mirror;
  const [kept, small] = [imageOver('kept', layer('kept', 1024 * kib)), imageOf('small')];
  publish('kept/app', kept);
  publish('small/app', small);
  await pull('small/app');
  await pull('kept/app');
  const huge = layer('huge', 1500 * kib);
  upstream.content.addBlob('huge/app', huge);
  expect((await pullBlob(app, 'huge/app', huge.digest)).cache).toBe('fwd=uri-miss; fwd-status=200');
  expect(await areKept(mirror, 'small/app', [small.manifest, ...small.blobs])).not.toContain(false);
});
