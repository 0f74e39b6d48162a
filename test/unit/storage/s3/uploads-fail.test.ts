import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { RecordKey } from '../../../../src/mirror/ports/record-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { gate } from '../../../support/gate.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { alpine } from './parts.ts';
import { keepBlob, uploading } from './uploading.ts';

describe('uploads to a bucket that fails', () => {
  test('all of them wait, longer after each failure, and none is lost', async () => {
    const setup = await uploading();
    await setup.uploads.start();
    setup.s3.script = () => ({ kind: 'error', status: 403, code: 'AccessDenied' });
    const keys: RecordKey[] = [];
    for (let count = 0; count < 20; count += 1) keys.push((await keepBlob(setup, randomBytes(100 + count))).key);
    for (const key of keys) setup.uploads.add(key);
    await expect.poll(() => setup.pauses.length).toBe(1);
    const asked = setup.s3.requests.length;
    expect(asked).toBeLessThanOrEqual(2);

    setup.clock.advance(6_000);
    setup.pauses[0]?.end();
    await expect.poll(() => setup.pauses.length).toBe(2);
    expect(setup.pauses[1]?.ms).toBeGreaterThanOrEqual(2_000);
    expect(setup.uploads.queued).toBe(20);

    setup.s3.script = () => undefined;
    setup.clock.advance(600_000);
    setup.pauses[1]?.end();
    await setup.idle();
    for (const key of keys) expect(setup.s3.objects.has(setup.layout.record(key))).toBe(true);
  });

  test('SlowDown in the middle of the parts is repeated, and the object is whole', async () => {
    const setup = await uploading();
    await setup.uploads.start();
    const bytes = randomBytes(12_000_000);
    const { digest, key } = await keepBlob(setup, bytes);
    let refused = 0;
    setup.s3.script = ({ operation }) =>
      operation === 'UploadPart' && (refused += 1) <= 2 ? { kind: 'error', status: 503, code: 'SlowDown' } : undefined;
    setup.uploads.add(key);
    await setup.idle();
    expect(setup.s3.objects.get(setup.layout.blob(digest))?.equals(bytes)).toBe(true);
  });

  test('what the bucket refuses for good is given up, and the next is uploaded', async () => {
    const setup = await uploading();
    await setup.uploads.start();
    const bad = await keepBlob(setup, randomBytes(10));
    const good = await keepBlob(setup, randomBytes(20));
    setup.s3.script = ({ key, operation }) =>
      operation === 'PutObject' && key === setup.layout.blob(bad.digest)
        ? { kind: 'error', status: 400, code: 'InvalidArgument' }
        : undefined;
    setup.uploads.add(bad.key);
    setup.uploads.add(good.key);
    while (setup.uploads.queued > 0) {
      setup.pauses.shift()?.end();
      await sleep(5);
    }
    expect(setup.s3.objects.has(setup.layout.record(good.key))).toBe(true);
    expect(setup.observer.uploads.filter(({ result }) => result === 'failed')).toHaveLength(1);
  });

  test('the queue is bounded: what does not fit is dropped and counted', async () => {
    const setup = await uploading({ maxQueued: 3 });
    for (let count = 0; count < 5; count += 1) {
      const { key } = await keepBlob(setup, randomBytes(100 + count));
      setup.uploads.add(key);
    }
    expect(setup.uploads.queued).toBe(3);
    expect(setup.observer.uploads.map(({ result }) => result)).toEqual(['dropped', 'dropped']);
  });
});

describe('uploads across restarts', () => {
  test('an upload that did not end before the process did is taken up by the next one', async () => {
    const before = await uploading();
    await before.uploads.start();
    const held = gate();
    before.s3.script = ({ operation }) =>
      operation === 'PutObject' ? { kind: 'held', until: held.opened } : undefined;
    const first = await keepBlob(before, randomBytes(500));
    const second = await keepBlob(before, randomBytes(600));
    before.uploads.add(first.key);
    before.uploads.add(second.key);
    await before.journal.flushed();
    // The process ends here: nothing of it runs on.
    const after = await uploading({ local: before.local, path: before.path });
    await after.uploads.start();
    await after.idle();
    for (const { digest, key } of [first, second]) {
      expect(after.s3.objects.has(after.layout.blob(digest))).toBe(true);
      expect(after.s3.objects.has(after.layout.record(key))).toBe(true);
    }
    held.open();
    await before.uploads.stop({ signal: AbortSignal.abort() });
  });

  test('a stop ends within its deadline though the bucket never answers, and the rest is taken up later', async () => {
    const before = await uploading();
    await before.uploads.start();
    before.s3.script = () => ({ kind: 'silence' });
    const { digest, key } = await keepBlob(before, randomBytes(500));
    before.uploads.add(key);
    await expect.poll(() => before.s3.requests.length).toBe(1);
    await before.uploads.stop({ signal: AbortSignal.timeout(50) });

    const after = await uploading({ local: before.local, path: before.path });
    await after.uploads.start();
    await after.idle();
    expect(after.s3.objects.has(after.layout.blob(digest))).toBe(true);
  });

  test('what is done is not done again, and the journal stays small', async () => {
    const before = await uploading();
    await before.uploads.start();
    for (let count = 0; count < 30; count += 1)
      before.uploads.add((await keepBlob(before, randomBytes(50 + count))).key);
    await before.idle();
    await before.uploads.stop({ signal: AbortSignal.timeout(1_000) });
    const after = await uploading({ s3: before.s3, local: before.local, path: before.path });
    const asked = before.s3.requests.length;
    await after.uploads.start();
    expect(after.uploads.queued).toBe(0);
    expect(before.s3.requests.length).toBe(asked);
    await after.uploads.stop({ signal: AbortSignal.timeout(1_000) });
    after.journal.due({ kind: 'visibility', repositoryId: alpine });
    await after.journal.flushed();
    expect(await readFile(before.path, 'utf8')).not.toContain('_blobs');
  });

  test('a torn or foreign journal costs only what it does not say', async () => {
    const path = join(await temporaryDirectory(), 'uploads.log');
    const digest = digestOf(Buffer.from('x'));
    const good = `+ repositories/docker.io/library/alpine/_blobs/sha256/${digest.slice(7)}.json`;
    await writeFile(path, `${good}\n+ repositories/../../etc/passwd\n\0\0\0\n+ repositories/docker.io/libr`);
    const setup = await uploading({ path });
    expect(await setup.journal.load()).toEqual([{ kind: 'blob', repositoryId: alpine, digest }]);
    expect(setup.failures).toEqual([]);
  });
});
