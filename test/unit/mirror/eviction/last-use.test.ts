import { expect, test } from 'vitest';
import { LastUse, nextLastUse } from '../../../../src/mirror/eviction/last-use.ts';
import { RecordingObserver } from '../../upstream/recording-observer.ts';

const mebi = 1024 * 1024;
/** A step is 64 MiB and 4,096 files. */
const limits = { maxBytes: 4_096 * mebi, minFreeBytes: 0, maxFiles: 100_000 };
const use = (mebis: number, files = 0) => ({ bytes: mebis * mebi, files });

test.each([
  { what: 'at first', saved: undefined, most: use(10), expected: use(74, 4_096) },
  { what: 'not a guess', saved: undefined, most: use(10), isExact: false, expected: 'stays' },
  { what: 'within half a step', saved: use(74, 4_096), most: use(42), expected: 'stays' },
  { what: 'beyond', saved: use(74, 4_096), most: use(43), expected: use(107, 4_096) },
  { what: 'with many files', saved: use(74, 4_096), most: use(10, 3_000), expected: use(74, 7_096) },
  { what: 'no more than the bound', saved: use(74, 4_096), most: use(4_095), expected: use(4_096, 4_096) },
  { what: 'at the bound', saved: use(4_096, 4_096), most: use(4_096), expected: 'stays' },
  { what: 'much less', saved: use(4_096, 4_096), most: use(10), expected: use(74, 4_096) },
  { what: 'perhaps much less', saved: use(4_096, 4_096), most: use(10), isExact: false, expected: 'stays' },
])('what is noted of the use: $what', ({ saved, most, isExact = true, expected }) => {
  expect(nextLastUse(saved, { most, isExact }, limits)).toEqual(expected);
});

function lastUse(saved?: string) {
  const disk = { text: saved, isFull: false, writes: 0 };
  const observer = new RecordingObserver();
  const file = {
    read: async () => (disk.text === undefined ? undefined : Buffer.from(disk.text)),
    write: async (bytes: Uint8Array) => {
      disk.writes += 1;
      if (disk.isFull) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
      disk.text = Buffer.from(bytes).toString();
    },
  };
  return { disk, observer, last: new LastUse({ file, observer }), next: () => new LastUse({ file, observer }) };
}

test('the next process knows at least what was noted before the store grew', async () => {
  const { disk, last, next } = lastUse();
  expect(await last.note({ most: use(10), isExact: true }, limits)).toEqual(use(42, 2_048));
  expect(await last.note({ most: use(42), isExact: true }, limits)).toEqual(use(42, 2_048));
  expect(disk.writes).toBe(1);
  await last.note({ most: use(60), isExact: true }, limits);
  expect(await next().load()).toEqual(use(124, 4_096));
});

test('a full disk takes no note: the store grows no further than the last one', async () => {
  const { disk, last, observer } = lastUse(JSON.stringify(use(74, 4_096)));
  disk.isFull = true;
  expect(await last.note({ most: use(70), isExact: true }, limits)).toEqual(use(70, 2_048));
  expect(await last.note({ most: use(75), isExact: true }, limits)).toBeUndefined();
  expect(observer.failures).toEqual([]);
});

test.each(['', '{', '[]', '{"bytes":1}', '{"bytes":-1,"files":2}', '{"bytes":1e99,"files":2}'])(
  'a note %j that this program has not written counts as none',
  async (text) => {
    const { last, observer } = lastUse(text);
    expect(await last.load()).toBeUndefined();
    expect(observer.failures).toHaveLength(1);
  },
);
