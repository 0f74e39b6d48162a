import { Marks } from '../../../../src/mirror/concurrency/remembered.ts';
import { expect, test } from 'vitest';
import { Background } from '../../../../src/mirror/concurrency/background.ts';
import { BorrowedLinks, BlobLinks } from '../../../../src/mirror/access/links.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { gate } from '../../../support/gate.ts';
import { image, randomBlob } from '../../../support/images.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryIndex } from '../../../support/memory-index.ts';
import { MemoryRecords } from '../../../support/memory-records.ts';
import { upstreamNamed } from '../../../support/upstream-named.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const repositoryOf = (upstream: string, name: string) => ({ upstream, repository: parseRepository(name) });
const [one, other, elsewhere] = [
  repositoryOf('docker.io', 'a'),
  repositoryOf('docker.io', 'b'),
  repositoryOf('ghcr.io', 'a'),
];
const { manifest } = image();
const layer = randomBlob(300).digest;

function started({ records = new MemoryRecords(), inMemory }: { records?: MemoryRecords; inMemory?: number } = {}) {
  const [index, clock, observer] = [new MemoryIndex(), new ManualClock(5_000), new RecordingObserver()];
  const background = new Background({ observer });
  const borrowedLinks = new BorrowedLinks({ index, observer });
  const hidden = new Set<string>();
  borrowedLinks.follow({
    access: { mayBeBorrowedFrom: ({ repository }) => !hidden.has(repository) },
    upstreams: { find: (name) => upstreamNamed(name) },
  });
  const make = () =>
    new BlobLinks({
      marks: new Marks(),
      records,
      index,
      borrowedLinks,
      background,
      clock,
      makeRoom: async () => true,
      space: { tidy: async () => {} },
      ...(inMemory !== undefined && { inMemory }),
    });
  return { records, index, clock, background, hidden, make, links: make() };
}

/** A manifest that was served from a repository, as the index knows it. */
function serve(index: MemoryIndex, repositoryId: typeof one): void {
  const { digest, bytes } = manifest;
  index.recordContent({ digest, size: bytes.length, isManifest: true, names: [layer], usedAtMs: 0 });
  index.recordLink({ repositoryId, kind: 'manifest', digest, mediaType: ociManifest, size: bytes.length });
}

test('a repository has no link to content that it never had', async () => {
  const { links } = started();
  expect(await links.check(one, layer)).toBeUndefined();
});

test('a recorded link survives a restart, with its size and time', async () => {
  const { links, make } = started();
  await links.record(one, layer, 300);
  expect(await make().check(one, layer)).toEqual({ size: 300, firstServedAtMs: 5_000 });
  expect(await make().check(other, layer)).toBeUndefined();
});

test('a link that was only confirmed does not survive a restart', async () => {
  const { links, make } = started();
  links.confirm(one, layer);
  expect(await links.check(one, layer)).toEqual({ firstServedAtMs: 5_000 });
  expect(await make().check(one, layer)).toBeUndefined();
});

test('confirming a known link changes nothing: the size is still checked at every open', async () => {
  const { links, clock } = started();
  await links.record(one, layer, 300);
  clock.advance(1_000);
  expect(links.confirm(one, layer)).toEqual({ size: 300, firstServedAtMs: 5_000 });
  expect(await links.check(one, layer)).toEqual({ size: 300, firstServedAtMs: 5_000 });
});

test('content that a manifest of a repository names is borrowed from another repository of the registry, and linked from then on', async () => {
  const { links, index, background, make } = started();
  await links.record(one, layer, 300);
  expect(await links.check(other, layer)).toBeUndefined();
  serve(index, other);
  expect(await links.check(other, layer)).toEqual({ size: 300, firstServedAtMs: 5_000 });
  await background.idle();
  expect(await make().check(other, layer)).toEqual({ size: 300, firstServedAtMs: 5_000 });
});

test('no link is borrowed from a repository that clients may not read; one from another repository is', async () => {
  const { links, index, hidden } = started();
  const third = repositoryOf('docker.io', 'c');
  await links.record(one, layer, 300);
  serve(index, other);
  hidden.add('a');
  expect(await links.check(other, layer)).toBeUndefined();
  await links.record(third, layer, 300);
  expect(await links.check(other, layer)).toMatchObject({ size: 300 });
});

test('no link is borrowed from another registry', async () => {
  const { links, index } = started();
  await links.record(elsewhere, layer, 300);
  serve(index, other);
  expect(await links.check(other, layer)).toBeUndefined();
});

test('evicted content leaves the cache of links', async () => {
  const { links, records } = started();
  await links.record(one, layer, 300);
  await records.remove({ kind: 'blob', repositoryId: one, digest: layer });
  expect(await links.check(one, layer)).toBeDefined();
  links.forget(one, layer);
  expect(await links.check(one, layer)).toBeUndefined();
});

/** Records of a disk that takes none until it is opened: each write waits, or fails. */
class ClosedRecords extends MemoryRecords {
  readonly disk = gate();
  isFull = false;

  override async write(key: RecordKey, value: object): Promise<void> {
    if (this.isFull) throw new Error('ENOSPC');
    await this.disk.opened;
    return super.write(key, value);
  }
}

const another = randomBlob(400).digest;

test('a link that memory drops before the disk takes its record is known, and is written once the disk takes it', async () => {
  const records = new ClosedRecords();
  const { links, make, background, index } = started({ records, inMemory: 1 });
  records.isFull = true;
  await links.record(one, layer, 300);
  links.confirm(one, another); // Memory holds one.
  records.isFull = false;
  records.disk.open();
  expect(await links.check(one, layer)).toEqual({ size: 300, firstServedAtMs: 5_000 });
  await background.idle();
  expect(await make().check(one, layer)).toEqual({ size: 300, firstServedAtMs: 5_000 });
  expect(new Set(index.links.map(({ digest }) => digest))).toEqual(new Set([layer]));
});

test('a link to a blob of another repository counts as used when it was asked for, however late the disk takes its record', async () => {
  const records = new ClosedRecords();
  const { links, clock, background, index } = started({ records });
  links.recordShared(one, layer, 300);
  clock.advance(1_000);
  records.disk.open();
  await background.idle();
  expect(index.links).toMatchObject([{ repositoryId: one, usedAtMs: 5_000 }]);
});

test('a link that memory drops while its record is written keeps its record', async () => {
  const records = new ClosedRecords();
  const { links, make, index } = started({ records, inMemory: 1 });
  const recording = links.record(one, layer, 300);
  links.confirm(one, another);
  records.disk.open();
  await recording;
  expect(await make().check(one, layer)).toEqual({ size: 300, firstServedAtMs: 5_000 });
  expect(index.links.map(({ digest }) => digest)).toEqual([layer]);
});

test.each(['before the disk takes', 'while the disk takes'])(
  'a link that is removed %s its record again gets none',
  async (when) => {
    const records = new ClosedRecords();
    const { links, make, background } = started({ records });
    records.isFull = true;
    await links.record(one, layer, 300);
    records.isFull = false;
    if (when === 'before the disk takes') links.forget(one, layer);
    const retried = background.idle();
    links.forget(one, layer);
    records.disk.open();
    await retried;
    expect(await make().check(one, layer)).toBeUndefined();
  },
);
