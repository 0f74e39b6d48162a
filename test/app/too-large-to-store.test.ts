import { expect, test } from 'vitest';
import { pullBlob } from '../support/pull.ts';
import { areKept, imageOf, imageOver, kib, layer, started, timesFetched } from '../support/bounded-store.ts';

test('if storage.keep fills the store, other blobs are served without being stored, and still verified', async () => {
  const mirror = await started({ maxSize: '1MiB', keep: ['docker.io/kept/*'] });
  const { publish, pull, app, upstream } = mirror;
  const kept = imageOver('kept', layer('kept', 900 * kib));
  publish('kept/app', kept);
  await pull('kept/app');
  const other = layer('other');
  upstream.content.addBlob('other/app', other);

  // A pull that follows at once may share the request of the one before.
  const forgotten = () => expect.poll(async () => (await app.metrics()).sum('layerwell_memory_reserved_bytes')).toBe(0);
  for (const times of [1, 2]) {
    expect((await pullBlob(app, 'other/app', other.digest)).cache).toBe('fwd=uri-miss; fwd-status=200');
    expect(timesFetched(mirror, other.digest)).toBe(times);
    await forgotten();
  }
  expect(await areKept(mirror, 'kept/app', [kept.manifest, ...kept.blobs])).not.toContain(false);

  upstream.script({ path: /blobs/ }, { body: (honest) => Buffer.from(honest).fill('x', 200 * kib) });
  await expect(pullBlob(app, 'other/app', other.digest)).rejects.toThrow('terminated');
});

test('a blob that is larger than the store may be is served, and nothing is evicted for it', async () => {
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

test('a blob for which storage.keep leaves no space is served, and nothing is evicted for it', async () => {
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
