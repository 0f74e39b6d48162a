import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { UpstreamError } from '../../../../src/oci/errors.ts';
import { type Gate, gate } from '../../../support/gate.ts';
import { randomBytes } from '../../../support/images.ts';
import { MemoryIncoming } from '../../../support/memory-incoming.ts';
import { body, readAll, startDownload } from '../../../support/start-download.ts';

const mebibyte = 1024 * 1024;
const blob = randomBytes(6 * mebibyte, 'hangs');
const [digest, size] = [digestOf(blob), blob.byteLength];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.byteLength; at += 64 * 1024) yield bytes.subarray(at, at + 64 * 1024);
}

const opened = (position: number) => ({ body: body(...piecesOf(blob.subarray(position))), offset: position, size });

/** A disk whose n-th write hangs until the gate opens, and reads meanwhile if `readsToo`. */
function hangingFrom(nth: number, { readsToo = false } = {}) {
  const recovered = gate();
  let appends = 0;
  const memory = new MemoryBudget({ maxBytes: 128 * mebibyte });
  const hang = async () => {
    if (appends >= nth) await recovered.opened;
  };
  const incoming = new MemoryIncoming({
    beforeAppend: () => {
      appends += 1;
      return hang();
    },
    ...(readsToo && { beforeRead: hang }),
  });
  return { recovered, memory, incoming };
}

async function seconds(count: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(count * 1_000);
  for (let turn = 0; turn < 200; turn += 1) await new Promise(setImmediate);
}

async function recover(recovered: Gate): Promise<void> {
  recovered.open();
  await seconds(0);
}

test('when a write hangs, readers go on with one upstream answer after 5 s, and the file is dropped when the disk returns', async () => {
  const { recovered, memory, incoming } = hangingFrom(5); // Each write has half a MiB.
  const started = await startDownload({ digest, size, first: opened(0), next: opened, incoming, memory });
  const { download, downloads, run, asked, kept } = started;
  const sources = [download.join(), download.join()];
  const readers = sources.map(readAll);
  await seconds(4);
  expect(downloads.find('docker.io', digest)).toBe(run);
  await seconds(2);
  for (const reader of await Promise.all(readers)) expect(reader.equals(blob)).toBe(true);
  expect(asked).toEqual([2 * mebibyte]);
  await run.ended;
  expect(await download.ended).toMatchObject({ result: 'disk_error' });
  expect(downloads.find('docker.io', digest)).toBeUndefined();
  expect({ isDisposed: incoming.isDisposed, kept }).toEqual({ isDisposed: false, kept: [] });
  expect(memory.reservedBytes).toBeGreaterThanOrEqual(mebibyte / 2); // The kernel may still write from it.
  for (const source of sources) await source[Symbol.asyncDispose]();
  await seconds(2); // What was relayed stays for a second.
  expect(incoming.isDisposed).toBe(false);
  await recover(recovered);
  expect(incoming.isDisposed).toBe(true);
  expect(memory.reservedBytes).toBe(0);
});

test('when reads hang too, a reader that has fallen behind gets the blob from the upstream, verified', async () => {
  const { recovered, memory, incoming } = hangingFrom(9, { readsToo: true });
  const started = await startDownload({ digest, size, first: opened(0), next: opened, incoming, memory });
  const late = started.download.join();
  await seconds(6);
  const reading = readAll(late);
  await seconds(6);
  const bytes = await reading;
  expect(started.asked).toEqual([0]);
  await recover(recovered);
  expect(bytes.equals(blob)).toBe(true);
  await late[Symbol.asyncDispose]();
  expect(incoming.isDisposed).toBe(true);
});

test('a mirror that stops does not wait for a write that hangs', async () => {
  const { recovered, incoming, memory } = hangingFrom(2);
  const { downloads } = await startDownload({ digest, size, first: opened(0), next: opened, incoming, memory });
  await seconds(6);
  await downloads.stop({ signal: AbortSignal.abort() });
  expect(incoming.isDisposed).toBe(false);
  await recover(recovered);
});

test('a partial download that the disk does not read back is not waited for', async () => {
  const recovered = gate();
  const held = Buffer.from(blob.subarray(0, 2 * mebibyte));
  const checkpoint = { bytes: held.byteLength, digest: digestOf(held) };
  const incoming = new MemoryIncoming({ held, beforeRead: () => recovered.opened });
  const first = opened(checkpoint.bytes);
  const { download, run } = await startDownload({ digest, size, first, next: opened, incoming, checkpoint });
  const source = download.join();
  const reading = readAll(source);
  await seconds(6);
  expect((await reading).equals(blob)).toBe(true);
  await run.ended;
  await source[Symbol.asyncDispose]();
  expect(first.body.destroyed).toBe(true);
  await recover(recovered);
  expect(incoming.isDisposed).toBe(true);
});

test('a download that fails gives up its slot although the disk does not end the checkpoint of its partial download', async () => {
  const recovered = gate();
  const incoming = new MemoryIncoming({ beforeLeave: () => recovered.opened });
  const broken = { ...opened(0), body: body(blob, new UpstreamError('misbehaving', 'cut')) };
  const first = { ...broken, size: size + 1 };
  const { download, run } = await startDownload({ digest, size: size + 1, first, incoming });
  download.abort(new UpstreamError('busy', 'yields'));
  await seconds(11);
  await run.ended;
  expect(await download.ended).toMatchObject({ result: 'aborted' });
  expect(incoming.isDisposed).toBe(false);
  await recover(recovered);
  expect(incoming.isDisposed).toBe(true);
});
