import { expect, test } from 'vitest';
import type { ServedBlob } from '../../../../src/mirror/blobs/served-blob.ts';
import type { OpenedBlob } from '../../../../src/mirror/ports/upstream.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { gate } from '../../../support/gate.ts';
import { body } from '../../../support/start-download.ts';
import { bytes, bytesOf, digest, down, other, own, started, withStored } from './start-blobs.ts';

const opened = (pieces: readonly (Buffer | Promise<void>)[]) => ({
  body: body(...pieces),
  offset: 0,
  size: bytes.byteLength,
});

/** A client's request has reached the upstream, which answers when the gate opens. */
async function withWaitingClient(answer: () => OpenedBlob, options?: Parameters<typeof started>[0]) {
  const all = started(options);
  const answers = gate();
  all.script.open = async () => {
    await answers.opened;
    return answer();
  };
  const client = all.open();
  await expect.poll(() => all.asked.length).toBe(1);
  return { ...all, client, answers };
}

/** All of what a sibling reads. */
async function heldBytes(held: Promise<ServedBlob | undefined>): Promise<Buffer | undefined> {
  const blob = await held;
  return blob && bytesOf(Promise.resolve(blob));
}

test('a blob that is stored is read by siblings, and that counts as a use', async () => {
  const { openHeld, asked, clock, index } = await withStored();
  clock.advance(60_000);
  expect((await heldBytes(openHeld()))?.equals(bytes)).toBe(true);
  expect(index.contents.get(digest)?.usedAtMs).toBe(clock.now());
  expect(asked).toEqual([]);
});

test('a blob that another repository brought is not there for siblings', async () => {
  const { openHeld, asked } = await withStored();
  expect(await openHeld(other)).toBeUndefined();
  expect(asked).toEqual([]);
});

test('a sibling borrows a link as a client does', async () => {
  const { openHeld, asked, index, borrowedLinks } = await withStored();
  borrowedLinks.follow({
    access: { mayBeBorrowedFrom: () => true },
    upstreams: { find: () => ({ label: 'docker.io' }) as never },
  });
  const manifest = digestOf(Buffer.from('manifest'));
  index.recordContent({ digest: manifest, size: 8, isManifest: true, names: [digest], usedAtMs: 0 });
  if (!other) throw new Error('no repository');
  index.recordLink({ repositoryId: other, kind: 'manifest', digest: manifest, mediaType: ociManifest, size: 8 });
  expect((await heldBytes(openHeld(other)))?.equals(bytes)).toBe(true);
  expect(asked).toEqual([]);
});

test('a blob that was never pulled is not there, and nothing is asked', async () => {
  const { openHeld, asked } = started();
  expect(await openHeld()).toBeUndefined();
  expect(asked).toEqual([]);
});

test('a sibling follows a download, and waits for one that has not begun', async () => {
  const rest = gate();
  const { client, answers, openHeld, asked } = await withWaitingClient(() =>
    opened([bytes.subarray(0, 200_000), rest.opened, bytes.subarray(200_000)]),
  );
  const sibling = openHeld();
  expect(await openHeld(own, { atOnce: true })).toBeUndefined();
  answers.open();
  const held = await sibling;
  const first = Buffer.alloc(100_000);
  expect(await held?.source.read(first, 0)).toBe(100_000);
  expect(first.equals(bytes.subarray(0, 100_000))).toBe(true);
  expect(held?.size).toBe(bytes.byteLength);
  rest.open();
  expect((await heldBytes(sibling))?.equals(bytes)).toBe(true);
  expect((await heldBytes(openHeld(own, { atOnce: true })))?.equals(bytes)).toBe(true);
  await bytesOf(client);
  expect(asked).toEqual(['GET library/app']);
});

test.each([
  { what: 'a download', hasRoom: true },
  { what: 'a relay', hasRoom: false },
])('a sibling that is to be answered at once joins $what only if it is further', async ({ hasRoom }) => {
  const { open, openHeld, script } = started({ hasRoom });
  const rest = gate();
  script.open = async () => opened([bytes.subarray(0, 200_000), rest.opened, bytes.subarray(200_000)]);
  const client = await open();
  await client.source.read(Buffer.alloc(1), 0);
  const further = await openHeld(own, { atOnce: true, start: 150_000 });
  expect(further?.size).toBe(bytes.byteLength);
  expect(await openHeld(own, { atOnce: true, start: 200_000 })).toBeUndefined();
  await further?.source[Symbol.asyncDispose]();
  rest.open();
  expect((await bytesOf(Promise.resolve(client))).equals(bytes)).toBe(true);
});

test('a sibling that asks for another repository does not join a download', async () => {
  const { client, answers, openHeld } = await withWaitingClient(() => opened([bytes]));
  expect(await openHeld(other)).toBeUndefined();
  answers.open();
  await bytesOf(client);
});

test('a sibling that leaves stops waiting', async () => {
  const { client, answers, openHeld } = await withWaitingClient(() => opened([bytes]));
  const leaving = new AbortController();
  const sibling = openHeld(own, { signal: leaving.signal });
  leaving.abort(new Error('left'));
  await expect(sibling).rejects.toThrow('left');
  answers.open();
  await bytesOf(client);
});

test('a download that cannot begin, or fails, is not there for siblings', async () => {
  const { client, answers, openHeld } = await withWaitingClient(() => {
    throw down;
  });
  const sibling = openHeld();
  answers.open();
  await expect(client).rejects.toThrow('refused');
  expect(await sibling).toBeUndefined();
  expect(await openHeld()).toBeUndefined();
});

test('a sibling joins a relay of a blob that is not stored, from its first byte, also a moment after its last reader', async () => {
  const { open, openHeld, script, asked } = started({ hasRoom: false });
  const rest = gate();
  script.open = async () => opened([bytes.subarray(0, 200_000), rest.opened, bytes.subarray(200_000)]);
  const client = open();
  await expect.poll(() => asked.length).toBe(1);
  const sibling = await openHeld();
  const first = Buffer.alloc(100_000);
  expect(await sibling?.source.read(first, 0)).toBeGreaterThan(0);
  rest.open();
  const [mine, theirs] = [heldBytes(Promise.resolve(sibling)), bytesOf(client)];
  expect((await mine)?.equals(bytes)).toBe(true);
  expect((await theirs).equals(bytes)).toBe(true);
  expect((await heldBytes(openHeld()))?.equals(bytes)).toBe(true);
  expect(asked).toEqual(['GET library/app']);
});

test('a sibling waits for the upstream that a relay has asked, unless it is to be answered at once', async () => {
  const { client, answers, openHeld, asked } = await withWaitingClient(() => opened([bytes]), { hasRoom: false });
  expect(await openHeld(own, { atOnce: true })).toBeUndefined();
  expect(await openHeld(other)).toBeUndefined();
  const sibling = openHeld();
  answers.open();
  const [mine, theirs] = [heldBytes(sibling), bytesOf(client)];
  expect((await mine)?.equals(bytes)).toBe(true);
  expect((await theirs).equals(bytes)).toBe(true);
  expect(asked).toEqual(['GET library/app']);
});

test('a stored blob that the disk cannot read is not there for siblings', async () => {
  const { openHeld, store, asked } = await withStored();
  store.isBroken = true;
  expect(await openHeld()).toBeUndefined();
  expect(asked).toEqual([]);
});
