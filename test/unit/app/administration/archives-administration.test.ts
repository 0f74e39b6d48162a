import { PassThrough, type Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test, vi } from 'vitest';
import {
  ProcessArchives,
  type ProcessArchivesDeps,
} from '../../../../src/app/administration/archives/archives-administration.ts';
import type { ArchivedFile, PlannedArchive } from '../../../../src/mirror/administration/archives/export-images.ts';
import type { ArchiveEntry, ImportOrder } from '../../../../src/mirror/administration/archives/import-images.ts';
import { tar } from '../../../support/tar.ts';

const mib = 1024 * 1024;
const waiting = { signal: new AbortController().signal };
const order = { images: [], platforms: 'all', referrers: true } as const;
const importOrder: ImportOrder = { names: new Map(), isPublic: false };

/** Archives over a store of `megabytes`; an import reads all that arrives. */
function start({ megabytes = 1, ...more }: Partial<ProcessArchivesDeps> & { readonly megabytes?: number } = {}) {
  const read = { entries: 0 };
  const archives = new ProcessArchives({
    mirror: {
      exports: {
        plan: async (): Promise<PlannedArchive> => ({ index: '', contents: new Map() }),
        files: async function* (): AsyncGenerator<ArchivedFile> {
          const body = Array.from({ length: megabytes }, () => Buffer.alloc(mib));
          yield { name: 'oci-layout', size: megabytes * mib, body };
        },
      },
      imports: {
        run: async (entries: AsyncIterable<ArchiveEntry>) => {
          for await (const { body } of entries) {
            read.entries += 1;
            for await (const _ of body);
          }
          return { images: [], written: 0, bytes: 0, present: 0 };
        },
      },
    },
    observer: { internalError: () => {} },
    ...more,
  });
  onTestFinished(() => archives.stop());
  return { archives, read };
}

const whole = tar({ 'oci-layout': 'x' });
const refused = (kind: string) => ({
  kind: 'unavailable',
  message: `4 ${kind} run already`,
  options: { headers: { 'Retry-After': '5' } },
});

test('a fifth import is refused in words, and a place is free again when one has ended', async () => {
  const { archives } = start();
  const arriving = Array.from({ length: 4 }, () => new PassThrough());
  const running = arriving.map((incoming) => archives.import(incoming, importOrder, waiting));
  await expect(archives.import(new PassThrough(), importOrder, waiting)).rejects.toMatchObject(refused('imports'));
  arriving[0]?.end(whole);
  await running[0];
  const next = new PassThrough();
  next.end(whole);
  expect(await archives.import(next, importOrder, waiting)).toMatchObject({ images: [] });
  for (const incoming of arriving) incoming.end(whole);
  await Promise.all(running);
});

test('a fifth export is refused in words; places are given back by readers that leave, and by exports that fail', async () => {
  const { archives } = start({ megabytes: 4 });
  const leaves = async (stream: Readable) => {
    stream.destroy();
    await new Promise((resolve) => stream.once('close', resolve));
  };
  for (let round = 0; round < 3; round += 1) {
    const running = await Promise.all(Array.from({ length: 4 }, () => archives.export(order, waiting)));
    await expect(archives.export(order, waiting)).rejects.toMatchObject(refused('exports'));
    for (const stream of running) await leaves(stream);
    await vi.waitFor(async () => leaves(await archives.export(order, waiting)));
  }
  expect((await text(await archives.export(order, waiting))).length).toBeGreaterThan(4 * mib);
});

const trickle = { bytes: 100, windowMs: 40 };

test('an import that trickles ends, and gives its place back', async () => {
  const { archives } = start({ least: trickle });
  const incoming = new PassThrough();
  incoming.write(whole.subarray(0, 600));
  const timer = setInterval(() => incoming.write('x'), 8);
  const stops = setTimeout(() => incoming.end(), 300);
  onTestFinished(() => [timer, stops].forEach((one) => clearInterval(one)));
  await expect(archives.import(incoming, importOrder, waiting)).rejects.toMatchObject({
    kind: 'too-slow',
    message: 'the sender sends less than 100 bytes in 0.04 s',
  });
});

test('an export that is read by a trickle is cut, and gives its place back', async () => {
  const { archives } = start({ megabytes: 20, least: { bytes: mib, windowMs: 20 } });
  const streams = await Promise.all(Array.from({ length: 4 }, () => archives.export(order, waiting)));
  const cut = streams.map((stream) => new Promise((resolve) => stream.once('close', resolve)));
  await expect(archives.export(order, waiting)).rejects.toMatchObject(refused('exports'));
  await Promise.all(cut);
  expect(streams.map(({ readableEnded }) => readableEnded)).toEqual([false, false, false, false]);
  await vi.waitFor(async () => (await archives.export(order, waiting)).destroy());
});

test('an import waits for this machine, however slow: only the sender must keep up', async () => {
  const { archives, read } = start({ least: { bytes: mib, windowMs: 20 } });
  const incoming = new PassThrough({ highWaterMark: 4 * mib });
  incoming.end(tar({ 'oci-layout': Buffer.alloc(2 * mib) }));
  await archives.import(incoming, importOrder, waiting);
  expect(read.entries).toBe(1);
});
