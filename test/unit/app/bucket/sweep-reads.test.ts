import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { BucketObjects } from '../../../../src/storage/s3/access/objects.ts';
import { BucketContents } from '../../../../src/storage/s3/sweep/bucket-contents.ts';
import { type Gate, gate } from '../../../support/gate.ts';
import { alpine, other, waiting } from '../../storage/s3/parts.ts';
import { day, mediaType, put, putManifest, sweeping } from './sweeping.ts';

/** Objects of a bucket. `answered` opens once the first of them has begun to arrive. */
class WatchedObjects extends BucketObjects {
  readonly answered: Gate = gate();

  override async open(...asked: Parameters<BucketObjects['open']>): ReturnType<BucketObjects['open']> {
    const opened = await super.open(...asked);
    this.answered.open();
    return opened;
  }
}

describe('what a sweep reads of a bucket', () => {
  test('a manifest that several repositories are linked to is read once, and its record not at all', async () => {
    const set = await sweeping({ unusedForMs: 30 * day });
    put(set, randomBytes(100), 60, other);
    const layer = put(set, randomBytes(100), 1);
    const digest = putManifest(set, [layer], 1, 'one');
    const record = set.s3.objects.get(set.parts.layout.record({ kind: 'manifest', repositoryId: alpine, digest }));
    for (let at = 0; at < 100; at += 1) {
      const repositoryId = { ...alpine, repository: parseRepository(`team/app-${at}`) };
      set.s3.objects.set(set.parts.layout.record({ kind: 'manifest', repositoryId, digest }), record ?? Buffer.of());
    }
    await set.sweep.sweep(waiting);
    const read = set.s3.story.filter((call) => call.startsWith('GetObject'));
    expect(read).toEqual([`GetObject ${set.parts.layout.blob(digest)}`]);
    expect(set.sweep.swept).toEqual({
      bytes: 100 + (set.s3.objects.get(set.parts.layout.blob(digest))?.length ?? 0),
      objects: 2,
    });
  });

  test('with nothing to remove, only the content is listed: no record and no manifest is read', async () => {
    const set = await sweeping({ unusedForMs: 30 * day });
    const layer = put(set, randomBytes(100), 1);
    putManifest(set, [layer], 1, 'tag');
    await set.sweep.sweep(waiting);
    expect(set.sweep.swept?.objects).toBe(2);
    expect(set.s3.count('GetObject')).toBe(0);
    const listed = set.s3.requests.filter(({ operation }) => operation === 'ListObjectsV2');
    expect(listed.filter(({ query }) => query.get('prefix')?.includes('repositories'))).toEqual([]);
  });

  test('tags are read only in repositories from which a manifest is removed', async () => {
    const set = await sweeping({ unusedForMs: 30 * day });
    putManifest(set, [], 60, 'old');
    putManifest(set, [put(set, randomBytes(100), 1)], 1, 'fresh');
    const elsewhere = set.parts.layout.record({ kind: 'tag', tag: parseTag('elsewhere'), repositoryId: other });
    set.s3.objects.set(elsewhere, Buffer.from('{}'));
    await set.sweep.sweep(waiting);
    const read = set.s3.story.filter((call) => call.startsWith('GetObject') && call.includes('_tags'));
    expect(read).toHaveLength(2);
    expect([...set.s3.objects.keys()].filter((key) => key.includes('_tags'))).toHaveLength(2);
  });

  test('the tags of a repository whose content is gone leave with it, also those that point at nothing', async () => {
    const set = await sweeping({ unusedForMs: 30 * day });
    put(set, randomBytes(100), 60, other);
    const gone = [put(set, randomBytes(100), 1), putManifest(set, [], 1, 'gone')];
    for (const digest of gone) set.s3.objects.delete(set.parts.layout.blob(digest));
    const nothing = { tag: 'nothing', digest: digestOf(Buffer.from('nowhere')), mediaType, size: 1, confirmedAtMs: 1 };
    const key = set.parts.layout.record({ kind: 'tag', repositoryId: alpine, tag: parseTag('nothing') });
    set.s3.objects.set(key, Buffer.from(JSON.stringify(nothing)));
    await set.sweep.sweep(waiting);
    expect([...set.s3.objects.keys()]).toEqual([]);
    const removedTags = set.s3.story.filter((call) => call.startsWith('DeleteObject') && call.includes('_tags'));
    expect(removedTags).toHaveLength(2);
  });

  test('the memory of a manifest stays reserved until its last byte has arrived', async () => {
    const { s3, clock, parts, ...rest } = await sweeping();
    const digest = putManifest({ s3, clock, parts, ...rest }, [], 1, 'slow');
    const ended = gate();
    s3.script = ({ operation }) =>
      operation === 'GetObject' ? { kind: 'cut', afterBytes: 10, until: ended.opened } : undefined;
    const objects = new WatchedObjects({ settings: s3.settings, calls: parts.calls, idleMs: 20_000 });
    const reading = new BucketContents({ ...parts, objects }, waiting).manifest(digest);
    await objects.answered.opened;
    await setImmediate();
    expect(parts.memory.reservedBytes).toBe(64 * 1024);
    ended.open();
    await expect(reading).rejects.toThrow('sent 10 of 88 bytes');
    expect(parts.memory.reservedBytes).toBe(0);
  });
});
