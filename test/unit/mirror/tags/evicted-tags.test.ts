import { expect, test } from 'vitest';
import { recordPath } from '../../../../src/storage/layout.ts';
import { type RecordKey, recordName } from '../../../../src/mirror/ports/record-store.ts';
import { pullImage } from '../../../schedules/actions.ts';
import { expectAgreement, quiet } from '../../../schedules/property.ts';
import { createWorld, placeOf } from '../../../schedules/schedule-world.ts';
import { gate } from '../../../support/gate.ts';

const place = { repository: 0, tag: 0 };
const pull = { ...place, leavesAfter: Infinity };
const never = { signal: new AbortController().signal };

/** A world in which the next removal of such a record waits until it is released. */
async function createHolding(kind: RecordKey['kind']) {
  const [removing, removal] = [gate(), gate()];
  let held: string | undefined;
  const world = await createWorld(async (name) => {
    if (held === undefined || name !== `unlink /store/${held}`) return;
    held = undefined;
    removing.open();
    await removal.opened;
  }, new Map());
  await pullImage(world, pull);
  await quiet(world);
  const key = (await Array.fromAsync(world.records.list())).find((one) => one.kind === kind);
  if (key === undefined) throw new Error(`no record of kind ${kind}`);
  held = recordPath(key);
  return { world, key, removing: removing.opened, release: () => removal.open() };
}

/** The links of blobs are only read by the pull: they go with the rest, and the next pull asks the upstream. */
const stays = { tag: true, manifest: true, blob: false };

test.each(['tag', 'manifest', 'blob'] as const)(
  'the index and the disk agree when an image is pulled while its repository is evicted: a %s',
  async (kind) => {
    const { world, key, removing, release } = await createHolding(kind);
    const evicting = world.purge.run({ kind: 'repository', ...placeOf(place) }, never);
    await removing;
    await pullImage(world, pull);
    release();
    await evicting;
    await quiet(world);
    await expectAgreement(world);
    const left = (await Array.fromAsync(world.records.list())).map(recordName);
    expect(left.includes(recordName(key))).toBe(stays[kind]);
    await world.mirror.stop(never);
    await world.index.stop();
  },
);
