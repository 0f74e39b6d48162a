import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  parseBlobRecord,
  parseManifestRecord,
  parseReferrersRecord,
  parseTagListRecord,
  parseTagRecord,
  storedTagRecord,
} from '../../../../src/mirror/ports/record-store.ts';
import { parseTag } from '../../../../src/oci/reference.ts';
import { ociManifest } from '../../../../src/oci/media-types.ts';
import { descriptorOf, randomBlob } from '../../../support/images.ts';

const [one, two] = [randomBlob(1, 'one').digest, randomBlob(1, 'two').digest];
const descriptor = descriptorOf(randomBlob(3));
const tag = { digest: one, previous: two, mediaType: ociManifest, size: 5, confirmedAtMs: 7 };
interface Kind {
  readonly kind: string;
  readonly parse: (value: unknown) => object | undefined;
  readonly record: object;
  /** Parts it may lack. */
  readonly optional: readonly string[];
}

const kinds: readonly Kind[] = [
  { kind: 'a tag', parse: (value) => parseTagRecord(value, parseTag('1')), record: tag, optional: ['previous'] },
  {
    kind: 'a manifest',
    parse: parseManifestRecord,
    record: { mediaType: 'a/b', size: 5, firstServedAtMs: 7 },
    optional: [],
  },
  { kind: 'a blob', parse: parseBlobRecord, record: { size: 5, firstServedAtMs: 7 }, optional: ['size'] },
  { kind: 'a list of tags', parse: parseTagListRecord, record: { names: 'a b', fetchedAtMs: 7 }, optional: [] },
  { kind: 'referrers', parse: parseReferrersRecord, record: { referrers: [descriptor], fetchedAtMs: 7 }, optional: [] },
];

test.each(kinds)(
  'a record of $kind is read back as written, also with fields of a later version',
  ({ parse, record }) => {
    expect(parse(JSON.parse(JSON.stringify(record)))).toEqual(record);
    expect(parse({ ...record, ofTomorrow: 1 })).toEqual(record);
  },
);

test.each(kinds)('a record of $kind with a missing or wrong field counts as absent', ({ parse, record, optional }) => {
  for (const key of Object.keys(record)) {
    const without = Object.fromEntries(Object.entries(record).filter(([name]) => name !== key));
    expect({ key, isRead: parse(without) !== undefined }).toEqual({ key, isRead: optional.includes(key) });
    for (const wrong of [null, {}, Number.NaN, -1, ...(key === 'names' ? [] : ['no media type'])]) {
      expect({ key, isRead: parse({ ...record, [key]: wrong }) !== undefined }).toEqual({
        key,
        isRead: optional.includes(key),
      });
    }
  }
});

test('the record of another tag counts as absent: some disks do not tell V1 from v1', () => {
  const stored: unknown = JSON.parse(JSON.stringify(storedTagRecord(parseTag('V1'), tag)));
  expect(parseTagRecord(stored, parseTag('V1'))).toEqual(tag);
  expect(parseTagRecord(stored, parseTag('v1'))).toBeUndefined();
  expect(parseTagRecord(tag, parseTag('v1'))).toEqual(tag); // As earlier versions wrote it.
});

test('invalid entries of a list are dropped', () => {
  expect(parseTagListRecord({ names: ['a'], fetchedAtMs: 1 })).toBeUndefined();
  expect(parseReferrersRecord({ referrers: [descriptor, {}, 'x'], fetchedAtMs: 1 })?.referrers).toEqual([descriptor]);
});

test('no content of a record file makes the parser throw', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(kinds.map(({ parse }) => parse(value))).toEqual(kinds.map(() => undefined));
    }),
  );
});
