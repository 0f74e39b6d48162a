import { execFileSync } from 'node:child_process';
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';

/** A file system of its own, of 4 MiB and 400 files. */
async function smallDisk(): Promise<string> {
  const path = await temporaryDirectory();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,nr_inodes=400', 'layerwell-test', path]);
  onTestFinished(() => void execFileSync('umount', ['--lazy', path]));
  return path;
}

/** Another program fills the disk. */
async function fill(path: string): Promise<void> {
  await using file = await open(join(path, 'somebody-else'), 'a');
  const writing = async (): Promise<never> => {
    for (;;) await file.write(Buffer.alloc(4096, 1));
  };
  await expect(writing()).rejects.toMatchObject({ code: 'ENOSPC' });
}

/** Another program uses all inodes except this many. */
async function leaveInodes(path: string, free: number): Promise<void> {
  await useUpInodes(path);
  for (let count = 0; count < free; count += 1) await rm(join(path, 'many', String(count)));
}

/** Another program uses all inodes. */
async function useUpInodes(path: string): Promise<void> {
  await mkdir(join(path, 'many'));
  const making = async (): Promise<never> => {
    for (let count = 0; ; count += 1) await writeFile(join(path, 'many', String(count)), '');
  };
  await expect(making()).rejects.toMatchObject({ code: 'ENOSPC' });
}

function remount(path: string, how: 'ro' | 'rw'): void {
  execFileSync('mount', ['-o', `remount,${how}`, path]);
}

/** Every part of an image, without a request to the registry. */
async function expectHits(mirror: RunningMirror, upstream: FakeRegistry, repository: string): Promise<void> {
  const downloads = async () => (await mirror.metrics()).sum('layerwell_cache_fills_in_flight');
  await expect.poll(downloads).toBe(0);
  upstream.forgetRequests();
  const { parts } = await pullAll(mirror, repository, '1');
  expect([...parts.values()].map(({ cache }) => cache)).toEqual([...parts.keys()].map(() => 'hit'));
  expect(upstream.count('GET', /\/(?:manifests|blobs)\//)).toBe(0);
}

/** Waits until so many manifests and blobs are on the disk: their clients do not. */
async function expectStored(mirror: RunningMirror, contents: number): Promise<void> {
  const stored = async () => (await mirror.metrics()).sum('layerwell_cache_admitted_objects_total');
  await expect.poll(stored, { timeout: 10_000 }).toBe(contents);
}

/** The bytes that the index counts. */
async function objectsIn(mirror: RunningMirror): Promise<number> {
  return (await mirror.metrics()).sum('layerwell_cache_objects');
}

const refusing = [
  {
    disk: 'has no inodes left',
    refuse: useUpInodes,
    heal: (path: string) => rm(join(path, 'many'), { recursive: true }),
    says: 'ENOSPC',
  },
  {
    disk: 'is mounted read-only',
    refuse: async (path: string) => remount(path, 'ro'),
    heal: async (path: string) => remount(path, 'rw'),
    says: 'EROFS',
  },
];
const indexes = [
  { index: 'there', isElsewhere: false, lose: async () => {} },
  { index: 'lost', isElsewhere: false, lose: (path: string) => rm(path) },
  { index: 'on another disk', isElsewhere: true, lose: async () => {} },
];

describeWithTools(
  ['mount', 'umount'],
  'a disk that is really full',
  () => {
    test.each([
      { index: 'there', lose: async () => {} },
      { index: 'lost', lose: (path: string) => rm(path, { force: true }) },
    ])('does not keep clients from being served, also after a restart with the index $index', async ({ lose }) => {
      const disk = await smallDisk();
      const upstream = await startFakeRegistry();
      const [small, large] = [image(), image({ name: 'large', layers: 2, layerBytes: 2_500_000 })];
      upstream.content.add('small/app', '1', small);
      upstream.content.add('large/app', '1', large);
      const data = join(disk, 'data');
      const mirror = await startMirror(mirrorOf(upstream, { storage: { path: data, minFree: '0B' } }));
      await pullAll(mirror, 'small/app', '1');

      await mirror.stop();
      await lose(join(data, 'index.sqlite'));
      await fill(disk);
      await mirror.restart();
      await expectHits(mirror, upstream, 'small/app');
      expect((await pullAll(mirror, 'large/app', '1')).digest).toBe(large.manifest.digest);
    });
  },
  { asRoot: true },
);

describeWithTools(
  ['mount', 'umount'],
  'a disk that runs out of inodes',
  () => {
    test('makes room for new pulls: the least recently pulled content is evicted, as on a disk without free bytes', async () => {
      const disk = await smallDisk();
      const upstream = await startFakeRegistry();
      const names = ['first', 'second', 'third', 'fourth', 'new'];
      for (const name of names) upstream.content.add(`${name}/app`, '1', image({ name }));
      const mirror = await startMirror(mirrorOf(upstream, { storage: { path: join(disk, 'data'), minFree: '0B' } }));
      for (const name of names.slice(0, -1)) await pullAll(mirror, `${name}/app`, '1');
      await expectStored(mirror, 4 * 3);
      await leaveInodes(disk, 15);

      const { parts } = await pullAll(mirror, 'new/app', '1');

      expect([...parts.values()].filter(({ cache }) => !cache.endsWith('stored'))).toEqual([]);
      await expectHits(mirror, upstream, 'new/app');
      await expectHits(mirror, upstream, 'fourth/app');
      expect((await mirror.metrics()).sum('layerwell_cache_evictions_total', { reason: 'lru' })).toBeGreaterThan(0);
      expect(mirror.logLines().filter(({ msg }) => msg === 'internal error')).toEqual([]);
    });

    test('because of other programs, beyond what evicting everything would free, leaves the cache alone; new content is served, not stored', async () => {
      const disk = await smallDisk();
      const upstream = await startFakeRegistry();
      for (const name of ['small', 'new']) upstream.content.add(`${name}/app`, '1', image({ name }));
      const mirror = await startMirror(mirrorOf(upstream, { storage: { path: join(disk, 'data'), minFree: '0B' } }));
      await pullAll(mirror, 'small/app', '1');
      await expectStored(mirror, 3);
      await leaveInodes(disk, 5);

      const { parts } = await pullAll(mirror, 'new/app', '1');

      expect([...parts.values()].filter(({ cache }) => cache.endsWith('stored'))).toHaveLength(1); // The manifest.
      await expectHits(mirror, upstream, 'small/app');
      const metrics = await mirror.metrics();
      expect(metrics.sum('layerwell_cache_evictions_total')).toBe(0);
      expect(metrics.sum('layerwell_cache_fills_total', { result: 'disk_error' })).toBe(0);
    });
  },
  { asRoot: true },
);

describeWithTools(
  ['mount', 'umount'],
  'a restart on a disk that takes nothing',
  () => {
    /** A mirror with small/app cached, that was stopped, and a registry with new/app besides. */
    async function stoppedMirror(isElsewhere = false) {
      const disk = await smallDisk();
      const upstream = await startFakeRegistry();
      for (const name of ['small', 'new']) upstream.content.add(`${name}/app`, '1', image({ name }));
      const index = join(isElsewhere ? await temporaryDirectory() : disk, 'index.sqlite');
      const storage = { path: join(disk, 'data'), minFree: '0B' };
      const mirror = await startMirror(mirrorOf(upstream, { storage, index: { path: index } }));
      await pullAll(mirror, 'small/app', '1');
      await mirror.stop();
      return { disk, upstream, index, mirror };
    }

    test.each(refusing.flatMap((disk) => indexes.map((index) => ({ ...disk, ...index }))))(
      'serves what is cached and says why it stores nothing, and stores again once it can: it $disk, the index is $index',
      async ({ isElsewhere, lose, refuse, heal, says }) => {
        const { disk, upstream, index, mirror } = await stoppedMirror(isElsewhere);
        await lose(index);
        await refuse(disk);
        await mirror.restart();
        expect(mirror.logLines().filter(({ msg }) => msg === 'internal error')).toContainEqual(
          expect.objectContaining({ part: 'store', err: expect.objectContaining({ code: says }) }),
        );
        await expectHits(mirror, upstream, 'small/app');
        const { parts } = await pullAll(mirror, 'new/app', '1');
        // The manifest, which memory keeps.
        expect([...parts.values()].filter(({ cache }) => cache.endsWith('stored'))).toHaveLength(1);

        await heal(disk);
        await pullAll(mirror, 'new/app', '1');
        await mirror.stop();
        await mirror.restart();
        await expectHits(mirror, upstream, 'new/app');
      },
    );

    test.each(refusing)('of the index alone does not keep content from being stored: it $disk', async ({ refuse }) => {
      const disk = await smallDisk();
      await refuse(disk);
      const upstream = await startFakeRegistry();
      upstream.content.add('small/app', '1', image());
      const mirror = await startMirror(mirrorOf(upstream, { index: { path: join(disk, 'below', 'index.sqlite') } }));
      expect(mirror.logLines()).toContainEqual(expect.objectContaining({ msg: 'internal error', part: 'index' }));
      await pullAll(mirror, 'small/app', '1');
      await mirror.stop();
      await mirror.restart();
      await expectHits(mirror, upstream, 'small/app');
    });

    test('leaves no index that lacks content stored after the disk is writable again, though the process is killed', async () => {
      const { disk, mirror } = await stoppedMirror();
      remount(disk, 'ro');
      await mirror.restart();
      remount(disk, 'rw');
      const { parts } = await pullAll(mirror, 'new/app', '1');
      const both = 2 * parts.size;
      while ((await objectsIn(mirror)) < both);
      await mirror.kill();

      await mirror.restart();
      await mirror.logged(({ msg, state }) => msg === 'index' && state === 'rebuilt');
      expect(await objectsIn(mirror)).toBe(both);
    });
  },
  { asRoot: true },
);
