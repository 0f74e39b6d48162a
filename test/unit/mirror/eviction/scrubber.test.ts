import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Scrubber, type ScrubberDeps } from '../../../../src/mirror/eviction/scrubber.ts';
import { type Digest, digestOf, hexOf } from '../../../../src/oci/digest.ts';
import { blobPath } from '../../../../src/storage/layout.ts';
import { fileStores } from '../../../support/file-stores.ts';
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

function scrubberOver(
  { store, clock }: Pick<ScrubberDeps, 'store' | 'clock'>,
  waits: number[] = [],
  startPosition = 0,
) {
  const wait = async (ms: number) => waits.push(ms);
  return new Scrubber({
    store,
    clock,
    observer: new RecordingObserver(),
    everyMs: 1_000,
    bytesPerSecond: 100,
    random: () => startPosition,
    onQuarantined: () => {},
    wait,
  });
}

const never = { signal: new AbortController().signal };

test('a blob whose bytes changed on the disk is quarantined, and the others stay', async () => {
  const kept = await stored('good bytes', 'bytes to be damaged');
  const [good, bad] = kept.digests;
  if (!good || !bad) throw new Error('two blobs were stored');
  await flipFirstByte(join(kept.path, blobPath(bad)));

  await scrubberOver(kept).round(never);

  expect(kept.corrupt).toEqual([bad]);
  expect(await kept.store.open(bad)).toBeUndefined();
  await using stillThere = await kept.store.open(good);
  expect(stillThere?.size).toBe(10);
});

test('it waits as long as its rate demands', async () => {
  const waits: number[] = [];
  await scrubberOver(await stored('x'.repeat(50), 'y'.repeat(25)), waits).round(never);

  expect(waits.toSorted((one, other) => one - other)).toEqual([250, 500]);
});

test('stop ends a round at once', async () => {
  const kept = await stored('some bytes');
  const stop = new AbortController();
  stop.abort(new Error('stopping'));

  await expect(scrubberOver(kept).round({ signal: stop.signal })).rejects.toThrow('stopping');
  expect(kept.corrupt).toEqual([]);
});

test('wherever a round starts, it checks everything once', async () => {
  const texts = Array.from({ length: 20 }, (_, index) => 'x'.repeat(index + 1));
  const kept = await stored(...texts);
  const all = texts.map(({ length }) => length * 10).toSorted((one, other) => one - other);
  for (const startPosition of [0, 0.3, 0.99]) {
    const waits: number[] = [];
    await scrubberOver(kept, waits, startPosition).round(never);
    expect(waits.toSorted((one, other) => one - other)).toEqual(all);
  }
});

test('a round may start at the end, so that the last blobs are checked though processes end soon', async () => {
  const kept = await stored(...Array.from({ length: 20 }, (_, index) => 'x'.repeat(index + 1)));
  const last = kept.digests.toSorted().at(-1);
  if (!last) throw new Error('there are twenty');
  const place = Number.parseInt(hexOf(last).slice(0, 4), 16) / 0x10000;
  const stop = new AbortController();
  const lookedAt: Digest[] = [];
  const open = async (digest: Digest) => {
    if (lookedAt.push(digest) === 2) stop.abort(new Error('stopping'));
    return kept.store.open(digest);
  };
  const store = { list: () => kept.store.list(), open, quarantine: async () => {} };
  await expect(scrubberOver({ ...kept, store }, [], place).round(stop)).rejects.toThrow('stopping');
  expect(lookedAt[0]).toBe(last);
});
