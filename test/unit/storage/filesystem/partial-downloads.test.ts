import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { IncomingBlob, PartialDownload, Checkpoint } from '../../../../src/mirror/ports/blob-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { type Failpoint, checkpointFailpoints } from '../../../../src/storage/filesystem/failpoints.ts';
import type { FileSystem } from '../../../../src/storage/filesystem/file-system.ts';
import { failingAtEachCall, type FileStores, fileStores, preparedStores } from '../../../support/file-stores.ts';
import { dice, PowerLossDisk } from '../../../support/power-loss-disk.ts';
import { gate } from '../../../support/gate.ts';
import { randomBytes } from '../../../support/images.ts';
import { thisTest } from '../../../support/owner.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const bytes = randomBytes(30_000, 'layer');
const digest = digestOf(bytes);
const other = digestOf(Buffer.from('another'));

function checkpointOf(length: number): Checkpoint {
  return { bytes: length, digest: digestOf(bytes.subarray(0, length)) };
}

/** What the next process finds in a store. */
async function afterRestart(
  path: string,
  files?: FileSystem,
): Promise<FileStores & { readonly left: PartialDownload | undefined }> {
  const stores = fileStores({ path, ...(files && { files }) });
  await stores.store.prepare();
  const left = await stores.store.takePartial(digest, 'docker.io');
  thisTest(async () => left?.incoming[Symbol.asyncDispose]());
  return { ...stores, left };
}

/** All that was left, which must be what its checkpoint promises. @returns how much that is. */
async function expectAsCheckpointed(left: PartialDownload | undefined): Promise<number> {
  if (!left) return 0;
  const buffer = Buffer.alloc(bytes.byteLength);
  const read = buffer.subarray(0, await left.incoming.read(buffer, 0));
  expect({ bytes: read.byteLength, digest: digestOf(read) }).toEqual(left.checkpoint);
  expect(read.equals(bytes.subarray(0, read.byteLength))).toBe(true);
  return read.byteLength;
}

/** Three parts, of which the first two have a checkpoint. */
async function writeUpTo(incoming: IncomingBlob): Promise<void> {
  await incoming.append([bytes.subarray(0, 10_000)]);
  await incoming.checkpoint(checkpointOf(10_000));
  await incoming.append([bytes.subarray(10_000, 20_000)]);
  await incoming.checkpoint(checkpointOf(20_000));
  await incoming.append([bytes.subarray(20_000)]);
}

async function finish({ incoming, checkpoint }: PartialDownload): Promise<void> {
  await using written = incoming;
  await written.append([bytes.subarray(checkpoint.bytes)]);
  await written.commit();
}

test('a killed process leaves the bytes up to its last checkpoint, and no others', async () => {
  const path = await temporaryDirectory();
  const former = fileStores({ path });
  await former.store.prepare();
  await using unmarked = await former.store.create(other, 'docker.io');
  await unmarked.append([bytes]);
  await using died = await former.store.create(digest, 'docker.io');
  await writeUpTo(died);

  const { left, store } = await afterRestart(path);
  expect(await expectAsCheckpointed(left)).toBe(20_000);
  expect(store.pendingBytes()).toBe(20_000);
  const names = await readdir(join(path, 'incoming'));
  expect(names).toHaveLength(2);
  expect((await stat(join(path, 'incoming', names.toSorted()[0] ?? ''))).size).toBe(20_000);

  await left?.incoming.append([bytes.subarray(20_000)]);
  await left?.incoming.commit();
  expect(await store.readAll(digest, 100_000)).toEqual(bytes);
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
  expect(store.pendingBytes()).toBe(0);
});

test('a stopped process leaves all bytes it had written', async () => {
  const path = await temporaryDirectory();
  const former = fileStores({ path });
  await former.store.prepare();
  {
    await using incoming = await former.store.create(digest, 'docker.io');
    await writeUpTo(incoming);
    await incoming.checkpoint(checkpointOf(30_000));
    await incoming.leave();
  }
  expect(await expectAsCheckpointed((await afterRestart(path)).left)).toBe(30_000);
});

test('a partial download that is not resumed survives the next process too', async () => {
  const path = await temporaryDirectory();
  const former = fileStores({ path });
  await former.store.prepare();
  await using died = await former.store.create(digest, 'docker.io');
  await writeUpTo(died);
  await fileStores({ path }).store.prepare();

  expect(await expectAsCheckpointed((await afterRestart(path)).left)).toBe(20_000);
});

test.each(checkpointFailpoints)(
  'a process that ends at %s leaves the previous checkpoint, or this one',
  async (step) => {
    const path = await temporaryDirectory();
    let checkpoints = 0;
    const former = fileStores({
      path,
      failpoint: (reached) => {
        if (reached === 'checkpoint.data-synced') checkpoints += 1;
        if (checkpoints === 2 && reached === step) throw new Error('struck');
      },
    });
    await former.store.prepare();
    await using died = await former.store.create(digest, 'docker.io');
    await writeUpTo(died);
    expect(former.failures).toHaveLength(1);

    const steps: readonly Failpoint[] = checkpointFailpoints;
    const isMade = steps.indexOf(step) >= steps.indexOf('checkpoint.renamed');
    expect(await expectAsCheckpointed((await afterRestart(path)).left)).toBe(isMade ? 20_000 : 10_000);
    expect(await readdir(join(path, 'incoming'))).toHaveLength(2);
  },
);

test('every step of a checkpoint runs, in the order in which the steps are listed', async () => {
  const passed: string[] = [];
  const { store } = fileStores({ path: await temporaryDirectory(), failpoint: (step) => passed.push(step) });
  await store.prepare();
  await using incoming = await store.create(digest, 'docker.io');
  await incoming.append([bytes]);
  passed.length = 0;
  await incoming.checkpoint(checkpointOf(bytes.byteLength));
  expect(passed).toEqual(checkpointFailpoints);
});

test('whenever the power fails, a checkpoint covers only bytes that were kept', async () => {
  const found = new Set<number>();
  for (let operations = 0, isReached = true; isReached; operations += 1) {
    for (const fate of ['one', 'another', 'a third']) {
      const path = '/store';
      const disk = new PowerLossDisk();
      const { store } = fileStores({ path, files: disk });
      await store.prepare();
      const left = disk.failPowerAfter(operations, dice(`${operations} ${fate}`));
      await store
        .create(digest, 'docker.io')
        .then(writeUpTo, () => {})
        .catch(() => {});
      isReached = left() !== undefined;
      found.add(await expectAsCheckpointed((await afterRestart(path, left() ?? disk.afterPowerLoss(dice(fate)))).left));
    }
  }
  expect([...found].toSorted((a, b) => a - b)).toEqual([0, 10_000, 20_000]);
});

test.each(['EIO', 'ENOENT'])('whichever disk call fails with %s, the next download succeeds', async (code) => {
  for await (const { store, path } of failingAtEachCall(code, (stores) => interruptAndResume(stores.store))) {
    const next = await store.takePartial(digest, 'docker.io');
    await expectAsCheckpointed(next);
    await next?.incoming[Symbol.asyncDispose]();
    await interruptAndResume(store);
    expect(await store.readAll(digest, 100_000)).toEqual(bytes);
    expect((await afterRestart(path)).left).toBeUndefined();
    expect(await readdir(join(path, 'incoming'))).toEqual([]);
  }
});

/** Two attempts, of which the second is whole. */
async function interruptAndResume(store: FileStores['store']): Promise<void> {
  {
    await using first = await store.create(digest, 'docker.io');
    await first.append([bytes.subarray(0, 10_000)]);
    await first.checkpoint(checkpointOf(10_000));
    await first.append([bytes.subarray(10_000, 20_000)]);
    await first.checkpoint(checkpointOf(20_000));
    await first.leave();
  }
  const left = await store.takePartial(digest, 'docker.io');
  await finish(left ?? { incoming: await store.create(digest, 'docker.io'), checkpoint: { bytes: 0, digest } });
}

test('a blob with a part that could not be synced is not stored, though a second sync succeeds', async () => {
  const { store, failures, files, path } = await preparedStores();
  {
    await using incoming = await store.create(digest, 'docker.io');
    await incoming.append([bytes]);
    files.failWith = ({ operation }) => (operation === 'sync' ? 'EIO' : undefined);
    await incoming.checkpoint(checkpointOf(bytes.byteLength));
    files.failWith = () => undefined;
    expect(failures).toMatchObject([{ code: 'EIO' }]);
    await expect(incoming.commit()).rejects.toMatchObject({ code: 'EIO' });
  }
  expect(await store.open(digest)).toBeUndefined();
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
});

test('checkpoints are made one at a time, and no blob waits for the checkpoint of another', async () => {
  const disk = gate();
  const { store, files, path } = await preparedStores();
  await using slow = await store.create(other, 'docker.io');
  await slow.append([bytes]);
  await using quick = await store.create(digest, 'docker.io');
  await quick.append([bytes]);
  let isSlow = true;
  files.before = async ({ operation }) => {
    if (operation !== 'sync' || !isSlow) return;
    isSlow = false;
    await disk.opened;
  };
  const first = slow.checkpoint(checkpointOf(bytes.byteLength));
  const second = quick.checkpoint(checkpointOf(bytes.byteLength));

  await quick.commit();
  expect(await store.readAll(digest, 100_000)).toEqual(bytes);
  expect(files.calls.filter((call) => call.operation === 'rename' && call.path.endsWith('.json'))).toEqual([]);
  expect(await readdir(join(path, 'incoming'))).toHaveLength(1);
  disk.open();
  await Promise.all([first, second]);
  expect(await readdir(join(path, 'incoming'))).toHaveLength(2);
});

test('the last checkpoint of a download does not wait for that of another', async () => {
  const disk = gate();
  const reached = gate();
  const { store, files } = await preparedStores();
  await using slow = await store.create(other, 'docker.io');
  await slow.append([bytes]);
  await using quick = await store.create(digest, 'docker.io');
  await quick.append([bytes]);
  files.before = async ({ operation }) => {
    if (operation !== 'sync') return;
    files.before = async () => {};
    reached.open();
    await disk.opened;
  };
  const first = slow.checkpoint(checkpointOf(bytes.byteLength));
  await reached.opened;
  const waiting = quick.checkpoint(checkpointOf(bytes.byteLength));
  await quick.leave(checkpointOf(bytes.byteLength));
  const left = await store.takePartial(digest, 'docker.io');
  expect(await expectAsCheckpointed(left)).toBe(bytes.byteLength);
  await left?.incoming[Symbol.asyncDispose]();
  disk.open();
  await Promise.all([first, waiting]);
});

test('a commit waits for a running checkpoint, so that no checkpoint file is left', async () => {
  const disk = gate();
  const { store, files, path } = await preparedStores();
  {
    await using incoming = await store.create(digest, 'docker.io');
    await incoming.append([bytes]);
    const reached = gate();
    files.before = async ({ operation }) => {
      if (operation !== 'sync') return;
      reached.open();
      await disk.opened;
    };
    const checkpointed = incoming.checkpoint(checkpointOf(bytes.byteLength));
    await reached.opened;
    const committed = incoming.commit();
    disk.open();
    await Promise.all([checkpointed, committed]);
    expect(await readdir(join(path, 'incoming'))).toEqual([]);
  }
  expect(await readdir(join(path, 'incoming'))).toEqual([]);
});
