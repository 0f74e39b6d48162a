import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Scrubber, type ScrubberDeps } from '../../../../src/mirror/eviction/scrubber.ts';
import { ScrubProgress } from '../../../../src/mirror/eviction/scrub-progress.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { blobPath } from '../../../../src/storage/layout.ts';
import { fileStores } from '../../../support/file-stores.ts';
import type { ManualClock } from '../../../support/manual-clock.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

async function stored(...texts: readonly string[]) {
  const path = await temporaryDirectory();
  const stores = fileStores({ path });
  await stores.store.prepare();
  const digests: Digest[] = [];
  for (const text of texts) {
    const bytes = Buffer.from(text);
    digests.push(digestOf(bytes));
    await stores.store.put(digestOf(bytes), bytes);
  }
  return { ...stores, path, digests };
}

async function flipFirstByte(path: string): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(Buffer.from('X'), 0, 1, 0);
  await file.close();
}

/** A file in memory. */
class MemoryFile {
  bytes: Buffer | undefined;
  writes = 0;

  read = async () => this.bytes;

  write = async (bytes: Uint8Array) => {
    this.bytes = Buffer.from(bytes);
    this.writes += 1;
  };
}

interface Scrubbed extends Partial<Omit<ScrubberDeps, 'store'>> {
  readonly store: ScrubberDeps['store'];
  readonly clock: ManualClock;
  readonly file?: MemoryFile;
}

const observer = new RecordingObserver();

/** A scrubber of a process that has just started. */
async function scrubberOver({ clock, file = new MemoryFile(), ...replaced }: Scrubbed, waits: number[] = []) {
  const progress = new ScrubProgress({ file, clock, observer });
  await progress.load();
  const scrubber = new Scrubber({
    observer,
    progress,
    everyMs: 1_000,
    bytesPerSecond: 100,
    onQuarantined: () => {},
    wait: async (ms: number) => waits.push(ms),
    ...replaced,
  });
  return Object.assign(scrubber, { progress });
}

const never = { signal: new AbortController().signal };

test('a blob whose bytes changed on the disk is quarantined, and the others stay', async () => {
  const kept = await stored('good bytes', 'bytes to be damaged');
  const [good, bad] = kept.digests;
  if (!good || !bad) throw new Error('two blobs were stored');
  await flipFirstByte(join(kept.path, blobPath(bad)));

  await (await scrubberOver(kept)).round(never);

  expect(kept.corrupt).toEqual([bad]);
  expect(await kept.store.open(bad)).toBeUndefined();
  await using stillThere = await kept.store.open(good);
  expect(stillThere?.size).toBe(10);
});

test('it waits as long as its rate demands', async () => {
  const waits: number[] = [];
  const scrubber = await scrubberOver(await stored('x'.repeat(50), 'y'.repeat(25)), waits);
  await scrubber.round(never);

  expect(waits.toSorted((one, other) => one - other)).toEqual([250, 500]);
});

test('stop ends a round at once', async () => {
  const kept = await stored('some bytes');
  const stop = new AbortController();
  stop.abort(new Error('stopping'));

  const scrubber = await scrubberOver(kept);
  await expect(scrubber.round({ signal: stop.signal })).rejects.toThrow('stopping');
  expect(kept.corrupt).toEqual([]);
});

/** Twenty blobs, and a store that writes down which of them are opened, and stops the process after a few. */
async function twenty() {
  const kept = await stored(...Array.from({ length: 20 }, (_, place) => 'x'.repeat(place + 1)));
  const opened: Digest[] = [];
  const stoppedAfter = (count: number) => {
    const stop = new AbortController();
    const open = async (digest: Digest) => {
      opened.push(digest);
      if (opened.length === count) stop.abort(new Error('stopping'));
      return kept.store.open(digest);
    };
    const store: ScrubberDeps['store'] = {
      list: (which) => kept.store.list(which),
      quarantine: async () => {},
      open,
    };
    return { store, signal: stop.signal };
  };
  return { ...kept, opened, stoppedAfter, file: new MemoryFile(), inOrder: kept.digests.toSorted() };
}

test('processes that end before a round does read everything once, and the round ends', async () => {
  const { clock, file, opened, stoppedAfter, inOrder } = await twenty();
  const startedAtMs = clock.now();
  for (const count of [1, 7, 15]) {
    const { store, signal } = stoppedAfter(count);
    const scrubber = await scrubberOver({ store, clock, file });
    await expect(scrubber.round({ signal })).rejects.toThrow('stopping');
    await scrubber.progress.save();
    clock.advance(86_400_000);
  }
  const last = await scrubberOver({ store: stoppedAfter(Infinity).store, clock, file });
  expect(last.progress.times).toMatchObject({ startedAtMs });
  expect(last.progress.times.completedAtMs).toBeUndefined();
  await last.round(never);

  expect(opened).toEqual(inOrder);
  const next = await scrubberOver({ store: stoppedAfter(Infinity).store, clock, file });
  expect(next.progress.times).toEqual({ startedAtMs, completedAtMs: clock.now() });
});

test('a process that is killed reads again at most what was read in the last minute', async () => {
  const { clock, file, opened, stoppedAfter, inOrder } = await twenty();
  const { store, signal } = stoppedAfter(10);
  const wait = async () => clock.advance(25_000);
  await expect((await scrubberOver({ store, clock, file, wait })).round({ signal })).rejects.toThrow('stopping');
  const read = opened.length;
  expect(file.writes).toBeLessThan(5);

  await (await scrubberOver({ store: stoppedAfter(Infinity).store, clock, file })).round(never);
  expect([...new Set(opened)]).toEqual(inOrder);
  expect(opened.length - inOrder.length).toBeLessThanOrEqual(3);
  expect(read).toBe(10);
});

test('after a restart the next round begins when it is due, however far the clock was set', async () => {
  const { store, clock, file } = await twenty();
  await (await scrubberOver({ store, clock, file })).round(never);
  clock.advance(400);
  const { progress } = await scrubberOver({ store, clock, file });
  expect(progress.dueInMs(1_000)).toBe(600);
  clock.setWallClock(-86_400_000);
  expect(progress.dueInMs(1_000)).toBe(1_000);
  clock.setWallClock(10 * 86_400_000);
  expect(progress.dueInMs(1_000)).toBe(0);
});

test('progress that cannot be read or written costs a new round, and nothing else', async () => {
  const { store, clock, file, opened, stoppedAfter, inOrder } = await twenty();
  for (const damaged of ['', 'nonsense', '[]', '{"startedAtMs":"x","after":"../..","completedAtMs":-1}']) {
    file.bytes = Buffer.from(damaged);
    expect((await scrubberOver({ store, clock, file })).progress.times).toEqual({});
  }
  file.write = async () => {
    throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
  };
  await (await scrubberOver({ store: stoppedAfter(Infinity).store, clock, file })).round(never);
  expect(opened).toEqual(inOrder);
});

test('a round that is due in a month does not begin at once, and a disk that fails is asked again within an hour', async () => {
  const { store, clock } = await twenty();
  const waits: number[] = [];
  const month = 30 * 86_400_000;
  let lists = 0;
  const list: ScrubberDeps['store']['list'] = (which) => {
    lists += 1;
    if (lists === 1) throw new Error('EIO');
    return store.list(which);
  };
  const stopped = Promise.withResolvers<void>();
  const wait = async (ms: number) => {
    waits.push(ms);
    if (waits.length === 32) stopped.resolve();
    if (waits.length >= 32) await new Promise(() => {});
  };
  const scrubber = await scrubberOver({
    store: { open: async () => undefined, quarantine: async () => {}, list },
    clock,
    wait,
    everyMs: month,
  });
  await scrubber.start();
  await stopped.promise;
  expect(waits[0]).toBe(3_600_000);
  expect(waits.slice(1, 31)).toEqual(Array.from({ length: 30 }, () => 86_400_000));
});
