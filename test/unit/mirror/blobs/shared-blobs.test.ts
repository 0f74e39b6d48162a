import { expect, test } from 'vitest';
import { SharedBlobs } from '../../../../src/mirror/blobs/shared-blobs.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import type { StoredBlob } from '../../../../src/mirror/ports/blob-store.ts';
import { digestOf } from '../../../../src/oci/digest.ts';

const pieceBytes = 100;
const digest = digestOf(Buffer.from('the blob'));

function fileOf(text: string) {
  const bytes = Buffer.alloc(3 * pieceBytes, text);
  const file = { reads: 0, closed: 0 };
  const stored: StoredBlob = {
    size: bytes.length,
    read: async (into, position) => {
      file.reads += 1;
      return bytes.copy(into, 0, position);
    },
    [Symbol.asyncDispose]: async () => {
      file.closed += 1;
    },
  };
  return { file, stored };
}

function sharedBlobs(): SharedBlobs {
  return new SharedBlobs({ memory: new MemoryBudget({ maxBytes: 1_000_000 }), pieceBytes });
}

test('readers of one blob share its pieces, and each closes its own file', async () => {
  const blobs = sharedBlobs();
  const [one, other] = [fileOf('a'), fileOf('a')];
  const [first, second] = [blobs.share(digest, one.stored), blobs.share(digest, other.stored)];
  const borrowed = await Promise.all([first.borrow?.(0, 1000), second.borrow?.(0, 1000)]);
  expect([one.file.reads, other.file.reads]).toEqual([1, 0]);
  for (const each of borrowed) each?.end();
  await first[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
  expect([one.file.closed, other.file.closed, blobs.heldBytes]).toEqual([1, 1, 0]);
  expect(await first.borrow?.(0, 1000)).toBeUndefined();
});

test('a blob that was stored again shares nothing with readers of the damaged file that it replaced', async () => {
  const blobs = sharedBlobs();
  const damaged = blobs.share(digest, fileOf('x').stored);
  const held = await damaged.borrow?.(0, 1000);
  blobs.forget(digest);
  const repaired = blobs.share(digest, fileOf('a').stored);
  const borrowed = await repaired.borrow?.(0, 1000);
  expect(String(borrowed?.pieces[0])).toBe('a'.repeat(pieceBytes));
  held?.end();
  borrowed?.end();
  await damaged[Symbol.asyncDispose]();
  const another = blobs.share(digest, fileOf('b').stored);
  const shared = await another.borrow?.(pieceBytes, 1000);
  expect((await repaired.borrow?.(pieceBytes, 1000))?.pieces[0]).toEqual(shared?.pieces[0]);
});
