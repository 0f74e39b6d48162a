import fc from 'fast-check';
import { bytesOnDisk, recordName } from '../../src/mirror/ports/record-store.ts';
import { repositoryKey } from '../../src/mirror/ports/repository-id.ts';
import { act, action, pullImage } from './actions.ts';
import { type Counts, createWorld, placeOf, repositories, turnsOf, type World } from './schedule-world.ts';

/** Everything waits for its turn; in the end all of it ran, and index and disk agree. @param counts counts what happens. */
export function raceFreeSchedules(counts: Counts = new Map()) {
  return fc.asyncProperty(
    fc.scheduler(),
    fc.array(fc.record({ repository: fc.nat(2), tag: fc.nat(2) }), { maxLength: 4 }),
    fc.array(fc.array(action, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 5 }),
    async (scheduler, stored, clients) => {
      const turn = turnsOf(scheduler);
      let isScheduled = false;
      const world = await createWorld(async (name) => (isScheduled ? turn(name) : undefined), counts);
      for (const place of stored) await pullImage(world, { ...place, leavesAfter: Infinity });
      await quiet(world);
      isScheduled = true;
      const running = clients.map(async (actions) => {
        for (const one of actions) {
          counts.set(one.kind, (counts.get(one.kind) ?? 0) + 1);
          await turn(one.kind);
          await act(world, one);
        }
      });
      await scheduler.waitFor(Promise.all(running).then(() => world.mirror.sweep()));
      isScheduled = false;
      await scheduler.waitAll();
      counts.set('turns', (counts.get('turns') ?? 0) + scheduler.report().length);
      await quiet(world);
      await expectAgreement(world);
      for (const at of repositories.keys()) await pullImage(world, { repository: at, tag: at, leavesAfter: Infinity });
      await world.mirror.stop(never);
      await expectAgreement(world);
      await world.index.stop();
      if (world.bugs.length > 0) throw new Error('a bug was reported', { cause: world.bugs[0] });
    },
  );
}

const never = { signal: new AbortController().signal };

/** Until nothing is downloaded or written any more: what a client that left has begun goes on. */
export async function quiet({ store, purge }: World): Promise<void> {
  for (let rounds = 0; rounds < 2 || store.pendingBytes() > store.partialBytes(); rounds += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    // A purge waits for what is written in the background.
    await purge.plan({ kind: 'tags', ...placeOf({ repository: 0, tag: 0 }), isWanted: () => false }, never);
  }
}

/** @throws when index and disk differ. */
export async function expectAgreement({ index, store, records }: World): Promise<void> {
  const stored = await Array.fromAsync(store.list());
  const totals = await index.totals();
  const diskBytes = stored.reduce((sum, { size }) => sum + bytesOnDisk(size), 0);
  for (const { digest } of stored)
    if (!(await index.hasContent(digest))) throw new Error(`${digest} is on the disk, and not in the index`);
  if (totals.blobs + totals.manifests !== stored.length || totals.diskBytes !== diskBytes)
    throw new Error(
      `the index counts ${JSON.stringify(totals)}, the disk has ${stored.length} with ${diskBytes} bytes`,
    );
  const onDisk = (await Array.fromAsync(records.list()))
    .filter(({ kind }) => kind === 'manifest' || kind === 'blob' || kind === 'tag')
    .map((key) => ('digest' in key ? `${repositoryKey(key.repositoryId)} ${key.digest}` : recordName(key)));
  const indexed = await recordsIn(index);
  const [lost, unknown] = [
    [...indexed].filter((one) => !onDisk.includes(one)),
    onDisk.filter((one) => !indexed.has(one)),
  ];
  if (lost.length + unknown.length > 0)
    throw new Error(`records only in the index: ${lost.join(', ')}; only on the disk: ${unknown.join(', ')}`);
}

async function recordsIn(index: World['index']): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const at of repositories.keys()) {
    const { repositoryId } = placeOf({ repository: at, tag: 0 });
    for (const digest of (await index.links(repositoryId, { after: undefined, limit: 1_000 })) ?? [])
      found.add(`${repositoryKey(repositoryId)} ${digest}`);
    for (const { tag } of (await index.tags(repositoryId, { after: undefined, limit: 1_000 })) ?? [])
      found.add(recordName({ kind: 'tag', repositoryId, tag }));
  }
  return found;
}
