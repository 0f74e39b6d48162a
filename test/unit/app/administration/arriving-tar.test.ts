import { PassThrough, Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { ArrivingTar, leastRate as least, TooSlow } from '../../../../src/app/administration/archives/tar.ts';
import { tar } from '../../../support/tar.ts';

const { signal } = new AbortController();

async function namesIn(archive: ArrivingTar): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const { name, body } of archive.entries()) {
    names.push(name);
    for await (const _ of body);
  }
  return names;
}

test('a sender that sends nothing for too long ends the archive', async () => {
  const incoming = new PassThrough();
  incoming.write(tar({ one: 'x' }).subarray(0, 700));
  await expect(namesIn(new ArrivingTar(incoming, { signal, idleMs: 5, least }))).rejects.toThrow(TooSlow);
  expect(incoming.destroyed).toBe(false); // Its sender is to get an answer.
});

test('an archive ends when it is no longer wanted', async () => {
  const stopping = new AbortController();
  const names = namesIn(new ArrivingTar(new PassThrough(), { signal: stopping.signal, idleMs: 60_000, least }));
  stopping.abort(new Error('stopping'));
  await expect(names).rejects.toThrow('stopping');
});

/** A header of a tar that counts for all files after it, with so many names (POSIX, "pax Header Block"). */
function globalHeader(names: number): Buffer {
  const records = Array.from({ length: names }, (_, number) => {
    const record = `key${String(number).padStart(7, '0')}=1\n`;
    return `${record.length + 3} ${record}`;
  }).join('');
  const whole = tar({ pax_global_header: records });
  whole.write('g', 156); // The type of the entry.
  whole.fill(' ', 148, 156);
  const sum = whole.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  whole.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return whole.subarray(0, 512 + Math.ceil(records.length / 512) * 512);
}

async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 16_384) yield bytes.subarray(at, at + 16_384);
}

test('headers that would take long to read end the archive, ordinary ones do not', async () => {
  const read = (names: number) => {
    const whole = Buffer.concat([globalHeader(names), tar({ one: 'x', two: 'y' })]);
    return namesIn(new ArrivingTar(Readable.from(inPieces(whole)), { signal, idleMs: 5_000, least }));
  };
  expect(await read(1_000)).toEqual(['one', 'two']);
  await expect(read(30_000)).rejects.toThrow('more than 262144 bytes come before a file');
});

test('a file of any size may come between two others', async () => {
  const whole = tar({ one: 'x'.repeat(1024 * 1024), two: 'y' });
  const archive = new ArrivingTar(Readable.from(inPieces(Buffer.from(whole))), { signal, idleMs: 5_000, least });
  expect(await namesIn(archive)).toEqual(['one', 'two']);
});
