import { expect, test } from 'vitest';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { type FileStores, fileStores } from '../../../support/file-stores.ts';
import { dice, PowerLossDisk } from '../../../support/power-loss-disk.ts';
import { randomBytes } from '../../../support/images.ts';

const path = '/var/lib/layerwell';
const layer = randomBytes(20_000, 'layer');
const manifest = randomBytes(500, 'manifest');
const interrupted = randomBytes(30_000, 'interrupted');
const contents = new Map([layer, manifest, interrupted].map((bytes) => [digestOf(bytes), bytes]));
const latest: RecordKey = {
  kind: 'tag',
  repositoryId: { upstream: 'docker.io', repository: parseRepository('library/alpine') },
  tag: parseTag('latest'),
};
/** Of each moment, so many ways in which a disk may forget. */
const fates = 6;

/** What the stores have promised to keep. */
interface Promised {
  readonly kept: Set<Digest>;
  version: number;
}

/** Everything that is written in a mirror's life; as soon as a step is done, what it promises is noted. */
async function live({ store, records }: FileStores, promised: Promised): Promise<void> {
  await store.prepare();
  await store.put(digestOf(manifest), manifest);
  promised.kept.add(digestOf(manifest));
  await records.write(latest, { version: 1 });
  promised.version = 1;
  {
    await using incoming = await store.create(digestOf(layer), 'docker.io');
    await incoming.append([layer.subarray(0, 5_000), layer.subarray(5_000, 12_000)]);
    await incoming.checkpoint({ bytes: 12_000, digest: digestOf(layer.subarray(0, 12_000)) });
    await incoming.append([layer.subarray(12_000)]);
    await incoming.commit();
    promised.kept.add(digestOf(layer));
  }
  await records.write(latest, { version: 2 });
  promised.version = 2;
  promised.kept.delete(digestOf(manifest));
  await store.remove(digestOf(manifest));
  await store.put(digestOf(manifest), manifest);
  promised.kept.add(digestOf(manifest));
  await using incoming = await store.create(digestOf(interrupted), 'docker.io');
  for (const end of [10_000, 20_000]) {
    await incoming.append([interrupted.subarray(end - 10_000, end)]);
    await incoming.checkpoint({ bytes: end, digest: digestOf(interrupted.subarray(0, end)) });
  }
}

async function expectKept(files: PowerLossDisk, { kept, version }: Promised): Promise<void> {
  const { store, records, corrupt } = fileStores({ path, files });
  await store.prepare();
  const found = new Set<Digest>();
  for await (const { digest } of store.list()) {
    expect(await store.readAll(digest, 100_000)).toEqual(contents.get(digest));
    found.add(digest);
  }
  expect(corrupt).toEqual([]);
  expect([...kept].filter((digest) => !found.has(digest))).toEqual([]);
  const record = await records.read(latest);
  expect(version === 0 ? [undefined, { version: 1 }] : [{ version }, { version: version + 1 }]).toContainEqual(record);
  await expectCheckpoint(store);
}

/** An interrupted download resumes with what was received. */
async function expectCheckpoint(store: FileStores['store']): Promise<void> {
  for (const [digest, bytes] of contents) {
    const left = await store.takePartial(digest, 'docker.io');
    if (!left) continue;
    const read = Buffer.alloc(left.checkpoint.bytes);
    expect(await left.incoming.read(read, 0)).toBe(left.checkpoint.bytes);
    expect(read.equals(bytes.subarray(0, left.checkpoint.bytes))).toBe(true);
    await left.incoming[Symbol.asyncDispose]();
  }
}

test('whenever the power fails, every visible file is whole, and everything reported as stored is there', async () => {
  let moment = 0;
  for (let isReached = true; isReached; moment += 1) {
    for (let fate = 0; fate < fates; fate += 1) {
      const disk = new PowerLossDisk();
      const promised: Promised = { kept: new Set(), version: 0 };
      const left = disk.failPowerAfter(moment, dice(`${moment} ${fate}`));
      await live(fileStores({ path, files: disk }), promised).catch(() => {});
      isReached = left() !== undefined;
      await expectKept(left() ?? disk.afterPowerLoss(dice(`end ${fate}`)), promised).catch((cause: unknown) => {
        throw new Error(`at moment ${moment}, by fate ${fate}`, { cause });
      });
    }
  }
  expect(moment).toBeGreaterThan(60);
});
