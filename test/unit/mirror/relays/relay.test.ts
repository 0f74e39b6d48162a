import { Readable } from 'node:stream';
import { afterEach, expect, test, vi } from 'vitest';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { Relay } from '../../../../src/mirror/relays/relay.ts';
import { type RelayOptions, verifyWhole } from '../../../../src/mirror/relays/relay-options.ts';
import type { ByteSource } from '../../../../src/mirror/ports/byte-source.ts';
import type { OpenedBlob } from '../../../../src/mirror/ports/upstream.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { UpstreamError } from '../../../../src/oci/errors.ts';
import { randomBytes } from '../../../support/images.ts';
import { readAll } from '../../../support/start-download.ts';

const mebibyte = 1024 * 1024;
const kibibyte = 1024;
const size = 24 * mebibyte;
const blob = randomBytes(size, 'relay');
const closeAfterMs = 2_000;

afterEach(() => vi.useRealTimers());

interface Asked {
  readonly position: number;
  readonly end: number | undefined;
  readonly body: Readable;
  /** Taken from the body so far. */
  taken: number;
}

/** An upstream that counts what is taken from it. */
function upstreamOf(
  bytes: Buffer,
  { ranges = true, size: told = bytes.length }: { ranges?: boolean; size?: number | undefined } = {},
) {
  const asked: Asked[] = [];
  const open = async (position: number, end: number | undefined): Promise<OpenedBlob> => {
    const from = ranges ? position : 0;
    const sent = bytes.subarray(from, ranges && end !== undefined ? end + 1 : undefined);
    async function* pieces() {
      for (let at = 0; at < sent.length; at += 64 * kibibyte) {
        const piece = Buffer.from(sent.subarray(at, at + 64 * kibibyte)); // The relay frees it.
        one.taken += piece.length;
        yield piece;
      }
    }
    const body = Readable.from(pieces(), { highWaterMark: 1 });
    const one: Asked = { position, end, body, taken: 0 };
    asked.push(one);
    return { size: told, offset: from, body };
  };
  return { asked, open };
}

function relayOf(upstream: ReturnType<typeof upstreamOf>, more: Partial<RelayOptions> = {}) {
  const memory = new MemoryBudget({ maxBytes: 128 * mebibyte });
  const digest = digestOf(blob);
  return new Relay({
    digest,
    size,
    from: 0,
    ...(more.until === undefined && { verify: verifyWhole(digest) }),
    blob: { open: upstream.open, received: () => {}, skipSource: () => false, failedVerification: () => {} },
    memory,
    closeAfterMs,
    attemptsWithoutProgress: 3,
    wait: async () => {},
    ...more,
  });
}

async function readUpTo(source: ByteSource, from: number, to: number): Promise<Buffer> {
  const all = Buffer.alloc(to - from);
  for (let done = 0; done < all.length; ) {
    const bytes = await source.read(all.subarray(done, done + 256 * kibibyte), from + done);
    if (bytes === 0) throw new Error('the end');
    done += bytes;
  }
  return all;
}

const turns = async () => {
  for (let turn = 0; turn < 2_000; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

test('readers at similar positions share one upstream answer', async () => {
  const upstream = upstreamOf(blob);
  const relay = relayOf(upstream);
  const read = await Promise.all([readAll(relay.join()), readAll(relay.join()), readAll(relay.join())]);
  for (const bytes of read) expect(bytes.equals(blob)).toBe(true);
  expect(upstream.asked).toHaveLength(1);
});

test('without an active reader, at most half a window is read from the upstream', async () => {
  const upstream = upstreamOf(blob);
  const memory = new MemoryBudget({ maxBytes: 128 * mebibyte });
  const relay = relayOf(upstream, { memory });
  const source = relay.join();
  await turns();
  expect(memory.reservedBytes).toBeLessThanOrEqual(4 * mebibyte + 64 * kibibyte);
  expect(memory.reservedBytes).toBeGreaterThan(3 * mebibyte);
  await source[Symbol.asyncDispose]();
  expect(memory.reservedBytes).toBe(0);
  expect(upstream.asked[0]?.body.destroyed).toBe(true);
});

test('a window grows to its limit and no further, however far apart its readers are', async () => {
  const upstream = upstreamOf(blob);
  const memory = new MemoryBudget({ maxBytes: 128 * mebibyte });
  const relay = relayOf(upstream, { memory });
  const [fast, slow] = [relay.join(), relay.join()];
  let most = 0;
  for (let position = 0; position < size - mebibyte; position += mebibyte) {
    await readUpTo(fast, position, position + mebibyte);
    most = Math.max(most, memory.reservedBytes);
  }
  expect(most).toBe(8 * mebibyte);
  expect(upstream.asked).toHaveLength(2); // The second is that of the slow reader, which has a window of its own by now.
  await fast[Symbol.asyncDispose]();
  expect((await readAll(slow)).equals(blob)).toBe(true);
  expect(upstream.asked[1]).toMatchObject({ position: 0 });
});

test('a reader that falls out of the window continues from its own position', async () => {
  const upstream = upstreamOf(blob);
  const relay = relayOf(upstream);
  const [fast, slow] = [relay.join(), relay.join()];
  const begin = await readUpTo(slow, 0, 100_001);
  expect((await readAll(fast)).equals(blob)).toBe(true);
  const rest = await readUpTo(slow, 100_001, size);
  expect(Buffer.concat([begin, rest]).equals(blob)).toBe(true);
  expect(await slow.read(Buffer.alloc(1), size)).toBe(0);
  expect(upstream.asked.map(({ position }) => position)).toEqual([0, 100_001]);
});

test('with an exhausted budget a relay holds the minimum, and its readers still get everything', async () => {
  const memory = new MemoryBudget({ maxBytes: 0 });
  const upstream = upstreamOf(blob);
  const relay = relayOf(upstream, { memory });
  const source = relay.join();
  let most = 0;
  const read = {
    ...source,
    read: async (into: Uint8Array, position: number) => {
      const bytes = await source.read(into, position);
      most = Math.max(most, memory.reservedBytes);
      return bytes;
    },
  };
  expect((await readAll(read)).equals(blob)).toBe(true);
  expect(most).toBeLessThanOrEqual(256 * kibibyte);
});

test.each([{ told: size }, { told: undefined }])(
  'wrong bytes never complete for any reader, behind or not: size $told',
  async ({ told }) => {
    const wrong = Buffer.from(blob);
    wrong[10] = (wrong[10] ?? 0) ^ 1;
    const relay = relayOf(upstreamOf(wrong, { size: told }), { size: told });
    const [fast, slow] = [relay.join(), relay.join()];
    await readUpTo(slow, 0, 1_000);
    await expect(readAll(fast)).rejects.toThrow('where sha256:');
    await expect(readUpTo(slow, 1_000, size)).rejects.toThrow('where sha256:');
  },
);

test('a reader that leaves ends its wait, and the last one closes the upstream answer', async () => {
  const body = new Readable({ read: () => {} });
  const relay = relayOf(upstreamOf(blob), { first: { size, offset: 0, body } });
  const [one, other] = [relay.join(), relay.join()];
  const waiting = [one, other].map((source) => source.read(Buffer.alloc(1), 0));
  await one[Symbol.asyncDispose]();
  await expect(waiting[0]).rejects.toThrow('left');
  expect(body.destroyed).toBe(false);
  await other[Symbol.asyncDispose]();
  await expect(waiting[1]).rejects.toThrow('left');
  expect(body.destroyed).toBe(true);
  expect(relay.isJoinable).toBe(false);
});

test('a client that comes a moment after the last one gets the whole blob without another download', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const memory = new MemoryBudget({ maxBytes: 128 * mebibyte });
  const small = blob.subarray(0, 4 * mebibyte);
  const upstream = upstreamOf(small);
  const digest = digestOf(small);
  const relay = relayOf(upstream, { digest, size: small.length, verify: verifyWhole(digest), memory });
  const first = relay.join();
  expect((await readAll(first)).equals(small)).toBe(true);
  await first[Symbol.asyncDispose]();
  const later = relay.join();
  await vi.advanceTimersByTimeAsync(5_000);
  expect((await readAll(later)).equals(small)).toBe(true);
  await later[Symbol.asyncDispose]();
  expect(upstream.asked.length).toBe(1);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(relay.isJoinable).toBe(false);
  expect(memory.reservedBytes).toBe(0);
});

test('an upstream answer without active readers is closed, and the rest is requested later', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const upstream = upstreamOf(blob);
  const relay = relayOf(upstream);
  const source = relay.join();
  await readUpTo(source, 0, 10);
  await turns();
  vi.advanceTimersByTime(closeAfterMs - 1);
  expect(upstream.asked[0]?.body.destroyed).toBe(false);
  vi.advanceTimersByTime(1);
  await turns();
  expect(upstream.asked[0]?.body.destroyed).toBe(true);
  await readUpTo(source, 10, 3 * mebibyte);
  await turns();
  const [, second] = upstream.asked;
  expect(second?.end).toBeDefined();
  expect(second?.taken).toBe((second?.end ?? 0) + 1 - (second?.position ?? 0)); // To its end: the connection serves others.
  vi.useRealTimers();
  expect((await readUpTo(source, 3 * mebibyte, size)).equals(blob.subarray(3 * mebibyte))).toBe(true);
});

test('an upstream without range support is closed once, and not again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const upstream = upstreamOf(blob, { ranges: false });
  const source = relayOf(upstream).join();
  let position = 0;
  for (const step of [10, 3 * mebibyte, 6 * mebibyte, 9 * mebibyte]) {
    await readUpTo(source, position, step);
    position = step;
    await turns();
    vi.advanceTimersByTime(closeAfterMs);
    await turns();
  }
  vi.useRealTimers();
  await readUpTo(source, position, size);
  expect(upstream.asked).toHaveLength(3); // The second was asked for a part, and shows that there are none.
});

test('an upstream of unknown size that is closed at its very end is asked for the last byte again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const short = blob.subarray(0, 4 * mebibyte);
  const digest = digestOf(short);
  const upstream = upstreamOf(short, { size: undefined });
  const source = relayOf(upstream, { size: undefined, digest, verify: verifyWhole(digest) }).join();
  await readUpTo(source, 0, 10);
  await turns();
  vi.advanceTimersByTime(closeAfterMs);
  await turns();
  vi.useRealTimers();
  expect((await readUpTo(source, 10, short.length)).equals(short.subarray(10))).toBe(true);
  expect(await source.read(Buffer.alloc(1), short.length)).toBe(0);
});

test('when others hold all connections, a relay whose answer was closed requests the rest when it gets one', async () => {
  const upstream = upstreamOf(blob);
  let refusals = 2;
  const open: typeof upstream.open = (position, end) => {
    refusals -= 1;
    if (refusals >= 0) throw new UpstreamError('busy', 'all connections are in use');
    return upstream.open(position, end);
  };
  expect((await readAll(relayOf({ ...upstream, open }).join())).equals(blob)).toBe(true);
});

test('a part is read unchanged, from its first byte to its last', async () => {
  const upstream = upstreamOf(blob);
  const relay = relayOf(upstream, { from: 1_000, until: 5_000 });
  expect((await readUpTo(relay.join(), 1_000, 5_000)).equals(blob.subarray(1_000, 5_000))).toBe(true);
  expect(upstream.asked).toMatchObject([{ position: 1_000, end: 4_999 }]);
});

test('a reader may skip any number of bytes: they are dropped, with one upstream request', async () => {
  const upstream = upstreamOf(blob);
  const memory = new MemoryBudget({ maxBytes: 128 * mebibyte });
  const relay = relayOf(upstream, { memory, until: size - 1 });
  const source = relay.join();
  let most = 0;
  for (const position of [10, 5 * mebibyte, 5 * mebibyte + 7, 20 * mebibyte]) {
    const bytes = await readUpTo(source, position, position + 5);
    expect(bytes.equals(blob.subarray(position, position + 5))).toBe(true);
    most = Math.max(most, memory.reservedBytes);
  }
  expect(most).toBeLessThanOrEqual(8 * mebibyte);
  expect(upstream.asked).toHaveLength(1);
});

test('a reader that skips into the withheld tail gets it once the whole blob is verified', async () => {
  const upstream = upstreamOf(blob);
  const source = relayOf(upstream).join();
  expect((await readUpTo(source, size - 5, size)).equals(blob.subarray(-5))).toBe(true);
  expect(upstream.asked).toHaveLength(1);
});

test('a reader that may make no requests of its own fails when the window has moved past it', async () => {
  const upstream = upstreamOf(blob);
  const relay = relayOf(upstream);
  const [fast, slow] = [relay.join(), relay.join(0, { mayAskAlone: false })];
  expect((await readAll(fast)).equals(blob)).toBe(true);
  await expect(readAll(slow)).rejects.toMatchObject({ reason: 'busy' });
  expect(upstream.asked).toHaveLength(1);
});
