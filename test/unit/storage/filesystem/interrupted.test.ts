import { readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { IncomingBlob, InterruptedBlob, Mark } from '../../../../src/mirror/ports.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { type Failpoint, markFailpoints } from '../../../../src/storage/filesystem/failpoints.ts';
import { markPath } from '../../../../src/storage/layout.ts';
import { type FileStores, fileStores } from '../../../support/file-stores.ts';
import { gate } from '../../../support/gate.ts';
import { randomBytes } from '../../../support/images.ts';
import { thisTest } from '../../../support/owner.ts';
import { PowerLoss } from '../../../support/power-loss.ts';
import { ScriptedFiles } from '../../../support/scripted-files.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const bytes = randomBytes(30_000, 'layer');
const digest = digestOf(bytes);
const other = digestOf(Buffer.from('another'));

function markOf(length: number): Mark {
  return { bytes: length, digest: digestOf(bytes.subarray(0, length)) };
}

/** What the next process finds in a store. */
async function afterRestart(path: string): Promise<FileStores & { readonly left: InterruptedBlob | undefined }> {
  const stores = fileStores({ path });
  await stores.store.prepare();
  const left = await stores.store.takeInterrupted(digest);
  thisTest(async () => left?.incoming[Symbol.asyncDispose]());
  return { ...stores, left };
}

/** All that was left, which must be what its mark promises. @returns how much that is. */
async function expectAsMarked(left: InterruptedBlob | undefined): Promise<number> {
  if (!left) return 0;
  const buffer = Buffer.alloc(bytes.byteLength);
  const read = buffer.subarray(0, await left.incoming.read(buffer, 0));
  expect({ bytes: read.byteLength, digest: digestOf(read) }).toEqual(left.mark);
  expect(read.equals(bytes.subarray(0, read.byteLength))).toBe(true);
  return read.byteLength;
}

/** Three parts, of which the first two are marked. */
async function writeUpTo(incoming: IncomingBlob): Promise<void> {
  await incoming.append([bytes.subarray(0, 10_000)]);
  await incoming.mark(markOf(10_000));
  await incoming.append([bytes.subarray(10_000, 20_000)]);
  await incoming.mark(markOf(20_000));
  await incoming.append([bytes.subarray(20_000)]);
}

async function finish({ incoming, mark }: InterruptedBlob): Promise<void> {
  await using written = incoming;
  await written.append([bytes.subarray(mark.bytes)]);
  await written.commit();
}

test('a process that died leaves what it had marked to the next one, and nothing of what came after', async () => {
  const path = await temporaryDirectory();
  const former = fileStores({ path });
  await former.store.prepare();
  await using unmarked = await former.store.create(other);
  await unmarked.append([bytes]);
  await using died = await former.store.create(digest);
  await writeUpTo(died);

  const { left, store } = await afterRestart(path);
  expect(await expectAsMarked(left)).toBe(20_000);
  expect(store.pendingBytes()).toBe(20_000);
  const names = await readdir(join(path, 'incoming'));
  expect(names).toHaveLength(2);
  expect((await stat(join(path, 'incoming', names.toSorted()[0] ?? ''))).size).toBe(20_000);

  if (left) await finish(left);
  expect(await store.readAll(digest, 100_000)).toEqual(bytes);
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
  expect(store.pendingBytes()).toBe(0);
});

test('what nobody goes on with outlives the next process too', async () => {
  const path = await temporaryDirectory();
  const former = fileStores({ path });
  await former.store.prepare();
  await using died = await former.store.create(digest);
  await writeUpTo(died);
  await fileStores({ path }).store.prepare();

  expect(await expectAsMarked((await afterRestart(path)).left)).toBe(20_000);
});

test.each(markFailpoints)('a process that ends at %s leaves the mark before, or this one', async (step) => {
  const path = await temporaryDirectory();
  let marks = 0;
  const former = fileStores({
    path,
    failpoint: (reached) => {
      if (reached === 'mark.data-synced') marks += 1;
      if (marks === 2 && reached === step) throw new Error('struck');
    },
  });
  await former.store.prepare();
  await using died = await former.store.create(digest);
  await writeUpTo(died);
  expect(former.troubles).toHaveLength(1);

  const steps: readonly Failpoint[] = markFailpoints;
  const isMade = steps.indexOf(step) >= steps.indexOf('mark.renamed');
  expect(await expectAsMarked((await afterRestart(path)).left)).toBe(isMade ? 20_000 : 10_000);
  expect(await readdir(join(path, 'incoming'))).toHaveLength(2);
});

test('every step of marking is passed, in the order in which they are listed', async () => {
  const passed: string[] = [];
  const { store } = fileStores({ path: await temporaryDirectory(), failpoint: (step) => passed.push(step) });
  await store.prepare();
  await using incoming = await store.create(digest);
  await incoming.append([bytes]);
  passed.length = 0;
  await incoming.mark(markOf(bytes.byteLength));
  expect(passed).toEqual(markFailpoints);
});

test.each(['nothing', 'zeroes'] as const)(
  'whenever the power fails, a mark speaks of nothing that is lost, where %s is found instead of it',
  async (instead) => {
    const found = new Set<number>();
    for (let survivors = 0, isReached = true; isReached; survivors += 1) {
      const path = await temporaryDirectory();
      const files = new PowerLoss();
      const { store } = fileStores({ path, files });
      await store.prepare();
      files.failAfter(survivors);
      const incoming = await store.create(digest).catch(() => undefined);
      if (incoming) await writeUpTo(incoming).catch(() => {});
      thisTest(async () => incoming?.[Symbol.asyncDispose]());
      isReached = files.hasFailed;
      await files.lose(instead);
      found.add(await expectAsMarked((await afterRestart(path)).left));
    }
    expect([...found].toSorted((a, b) => a - b)).toEqual([0, 10_000, 20_000]);
  },
);

test.each(['EIO', 'ENOENT'])(
  'whichever call to the disk fails with %s, what is left is as marked, and the next download succeeds',
  async (code) => {
    for (let failing = 0, isReached = true; isReached; failing += 1) {
      const path = await temporaryDirectory();
      const files = new ScriptedFiles();
      const { store } = fileStores({ path, files });
      await store.prepare();
      files.calls.length = 0;
      files.failWith = (call) => (files.calls.indexOf(call) === failing ? code : undefined);
      await interruptAndGoOn(store).catch((error: unknown) => expect(error).toMatchObject({ code }));
      isReached = files.calls.length > failing;
      files.failWith = () => undefined;

      const next = await store.takeInterrupted(digest);
      await expectAsMarked(next);
      await next?.incoming[Symbol.asyncDispose]();
      await interruptAndGoOn(store);
      expect(await store.readAll(digest, 100_000)).toEqual(bytes);
      expect((await afterRestart(path)).left).toBeUndefined();
      expect(await readdir(join(path, 'incoming'))).toEqual([]);
    }
  },
);

/** Two attempts, of which the second is whole. */
async function interruptAndGoOn(store: FileStores['store']): Promise<void> {
  {
    await using first = await store.create(digest);
    await first.append([bytes.subarray(0, 10_000)]);
    await first.mark(markOf(10_000));
    await first.append([bytes.subarray(10_000, 20_000)]);
    await first.mark(markOf(20_000));
    await first.leave();
  }
  const left = await store.takeInterrupted(digest);
  await finish(left ?? { incoming: await store.create(digest), mark: { bytes: 0, digest } });
}

test('a blob of which a part could not be brought to the disk is not stored, though the next try looks well', async () => {
  const path = await temporaryDirectory();
  const files = new ScriptedFiles();
  const { store, troubles } = fileStores({ path, files });
  await store.prepare();
  {
    await using incoming = await store.create(digest);
    await incoming.append([bytes]);
    files.failWith = ({ operation }) => (operation === 'sync' ? 'EIO' : undefined);
    await incoming.mark(markOf(bytes.byteLength));
    files.failWith = () => undefined;
    expect(troubles).toMatchObject([{ code: 'EIO' }]);
    await expect(incoming.commit()).rejects.toMatchObject({ code: 'EIO' });
  }
  expect(await store.open(digest)).toBeUndefined();
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
});

test('marks are made one at a time, and no blob waits for the mark of another', async () => {
  const path = await temporaryDirectory();
  const files = new ScriptedFiles();
  const disk = gate();
  const { store } = fileStores({ path, files });
  await store.prepare();
  await using slow = await store.create(other);
  await slow.append([bytes]);
  await using quick = await store.create(digest);
  await quick.append([bytes]);
  let isSlow = true;
  files.before = async ({ operation }) => {
    if (operation !== 'sync' || !isSlow) return;
    isSlow = false;
    await disk.opened;
  };
  const first = slow.mark(markOf(bytes.byteLength));
  const second = quick.mark(markOf(bytes.byteLength));

  await quick.commit();
  expect(await store.readAll(digest, 100_000)).toEqual(bytes);
  expect(await readdir(join(path, 'incoming'))).toHaveLength(1);
  disk.open();
  await Promise.all([first, second]);
  expect(await readdir(join(path, 'incoming'))).toHaveLength(2);
});

test('a commit waits for the mark that is being made, so that none is left behind', async () => {
  const path = await temporaryDirectory();
  const files = new ScriptedFiles();
  const disk = gate();
  const { store } = fileStores({ path, files });
  await store.prepare();
  {
    await using incoming = await store.create(digest);
    await incoming.append([bytes]);
    const reached = gate();
    files.before = async ({ operation }) => {
      if (operation !== 'sync') return;
      reached.open();
      await disk.opened;
    };
    const marked = incoming.mark(markOf(bytes.byteLength));
    await reached.opened;
    const committed = incoming.commit();
    disk.open();
    await Promise.all([marked, committed]);
  }
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
});

const marked = { blob: digest, ...markOf(10_000) };

test.each([
  { what: 'has no mark', mark: undefined },
  { what: 'has a mark that was cut', mark: JSON.stringify(marked).slice(0, -1) },
  { what: 'has an empty mark', mark: '' },
  { what: 'has a mark of zeroes', mark: '\0'.repeat(200) },
  { what: 'has a mark that is no mark', mark: '[]' },
  { what: 'has a mark of nothing', mark: JSON.stringify({ ...marked, bytes: 0 }) },
  { what: 'has a mark of no number', mark: JSON.stringify({ ...marked, bytes: '10000' }) },
  { what: 'has a mark of no digest', mark: JSON.stringify({ ...marked, digest: 'x' }) },
  { what: 'has a mark of no blob', mark: JSON.stringify({ ...marked, blob: '../../etc/passwd' }) },
  { what: 'has a mark by another hash', mark: JSON.stringify({ ...marked, digest: digestOf(bytes, 'sha512') }) },
  { what: 'is shorter than its mark says', mark: JSON.stringify({ ...marked, bytes: 30_001 }) },
])('what a former process was writing is swept when it $what', async ({ mark }) => {
  const path = await temporaryDirectory();
  await fileStores({ path }).store.prepare();
  await writeUnfinished(path, 'unfinished', mark);
  const { left, store, troubles } = await afterRestart(path);
  expect(left).toBeUndefined();
  expect(store.pendingBytes()).toBe(0);
  expect(troubles).toEqual([]);
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
});

test('a mark without what it speaks of is swept', async () => {
  const path = await temporaryDirectory();
  await fileStores({ path }).store.prepare();
  await writeFile(markPath(join(path, 'incoming/gone')), JSON.stringify(marked));
  expect((await afterRestart(path)).left).toBeUndefined();
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
});

test('of several parts of one blob the largest is kept', async () => {
  const path = await temporaryDirectory();
  await fileStores({ path }).store.prepare();
  for (const length of [10_000, 30_000, 20_000]) {
    await writeUnfinished(path, `part-${length}`, JSON.stringify({ blob: digest, ...markOf(length) }));
  }
  expect(await expectAsMarked((await afterRestart(path)).left)).toBe(30_000);
  expect(await readdir(join(path, 'incoming'))).toHaveLength(2);
});

test('what former processes left is dropped by its age, the oldest first', async () => {
  const path = await temporaryDirectory();
  await fileStores({ path }).store.prepare();
  const blobs = ['one', 'two', 'three'].map((name) => digestOf(Buffer.from(name)));
  for (const [index, blob] of blobs.entries()) {
    await writeUnfinished(path, `part-${index}`, JSON.stringify({ blob, ...markOf(10_000) }));
    const leftAt = new Date(Date.UTC(2029, 0, 20 - 5 * index));
    await utimes(markPath(join(path, `incoming/part-${index}`)), leftAt, leftAt);
  }
  const { store } = fileStores({ path });
  await store.prepare();
  expect(await store.dropInterrupted({ bytes: 0, leftBeforeMs: Date.UTC(2029, 0, 14) })).toBe(10_000);
  expect(await store.takeInterrupted(blobs[2] ?? digest)).toBeUndefined();
  expect(await store.dropInterrupted({ bytes: 1, leftBeforeMs: 0 })).toBe(10_000);
  expect(await store.takeInterrupted(blobs[1] ?? digest)).toBeUndefined();
  expect(await readdir(join(path, 'incoming'))).toHaveLength(2);
});

test.each([
  { operation: 'read', at: 'start' },
  { operation: 'truncate', at: 'start' },
] as const)(
  'a disk that fails to $operation what was left costs no start, and leaves nothing',
  async ({ operation }) => {
    const path = await temporaryDirectory();
    await fileStores({ path }).store.prepare();
    await writeUnfinished(path, 'part', JSON.stringify(marked));
    const files = new ScriptedFiles();
    files.failWith = (call) => (call.operation === operation ? 'EIO' : undefined);
    const { store, troubles } = fileStores({ path, files });
    await store.prepare();
    expect(troubles).toMatchObject([{ code: 'EIO' }]);
    expect(store.pendingBytes()).toBe(0);
    expect(await store.takeInterrupted(digest)).toBeUndefined();
    expect(await readdir(join(path, 'incoming'))).toEqual([]);
  },
);

async function writeUnfinished(path: string, name: string, mark: string | undefined): Promise<void> {
  const file = join(path, 'incoming', name);
  await writeFile(file, bytes);
  if (mark !== undefined) await writeFile(markPath(file), mark);
  expect(await readFile(file)).toHaveLength(bytes.byteLength);
}
