import { execFileSync } from 'node:child_process';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';

/** A file system of its own, of 4 MiB. */
async function smallDisk(): Promise<string> {
  const path = await temporaryDirectory();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'layerwell-test', path]);
  onTestFinished(() => void execFileSync('umount', ['--lazy', path]));
  return path;
}

/** Somebody else takes all that is left. */
async function fill(path: string): Promise<void> {
  await using file = await open(join(path, 'somebody-else'), 'a');
  const writing = async (): Promise<never> => {
    for (;;) await file.write(Buffer.alloc(4096, 1));
  };
  await expect(writing()).rejects.toMatchObject({ code: 'ENOSPC' });
}

describeWithTools(
  ['mount', 'umount'],
  'a disk that is really full',
  () => {
    test.each([
      { index: 'there', lose: async () => {} },
      { index: 'lost', lose: (path: string) => rm(path, { force: true }) },
    ])('keeps nobody from being served, also after a restart with the index $index', async ({ lose }) => {
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
      upstream.forgetRequests();
      const { parts } = await pullAll(mirror, 'small/app', '1');
      expect([...parts.values()].map(({ cache }) => cache)).toEqual([...parts.keys()].map(() => 'hit'));
      expect(upstream.count()).toBe(0);
      expect((await pullAll(mirror, 'large/app', '1')).digest).toBe(large.manifest.digest);
    });
  },
  { asRoot: true },
);
