import { expect, test } from 'vitest';
import { recordPath } from '../../../../src/storage/layout.ts';
import { pullImage } from '../../../schedules/actions.ts';
import { quiet } from '../../../schedules/property.ts';
import { createWorld, placeOf } from '../../../schedules/schedule-world.ts';
import { gate } from '../../../support/gate.ts';

const place = { repository: 0, tag: 0 };
const pull = { ...place, leavesAfter: Infinity };
const never = { signal: new AbortController().signal };
const recordOf = recordPath({ kind: 'tag', ...placeOf(place) });

test('a tag that is confirmed while its repository is evicted is in the index and on the disk', async () => {
  const [removing, removal] = [gate(), gate()];
  let isHeld = false;
  const world = await createWorld(async (name) => {
    if (!isHeld || name !== `unlink /store/${recordOf}`) return;
    isHeld = false;
    removing.open();
    await removal.opened;
  }, new Map());
  await pullImage(world, pull);
  await quiet(world);
  isHeld = true;
  const evicting = world.purge.run({ kind: 'repository', ...placeOf(place) }, never);
  await removing.opened;
  await pullImage(world, { ...pull, leavesAfter: 0 });
  removal.open();
  await evicting;
  await quiet(world);
  const indexed = await world.index.tags(placeOf(place).repositoryId, { after: undefined, limit: 10 });
  const onDisk = (await Array.fromAsync(world.records.list())).filter(({ kind }) => kind === 'tag');
  expect(indexed?.map((one) => one.tag)).toEqual([placeOf(place).tag]);
  expect(onDisk).toEqual([{ kind: 'tag', ...placeOf(place) }]);
  await world.mirror.stop(never);
  await world.index.stop();
});
