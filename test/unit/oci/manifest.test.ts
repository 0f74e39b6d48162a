import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isDescriptor, manifestShapeOf, namedBy } from '../../../src/oci/manifest.ts';
import { descriptorOf, image, multiPlatformImage, randomBlob, referrerOf } from '../../support/images.ts';

const [one, two, three] = ['one', 'two', 'three'].map((name) => descriptorOf(randomBlob(10, name)));

function bytesOf(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

test('an image names its config and its layers, in that order', () => {
  const { manifest, blobs } = image({ layers: 3 });
  expect(namedBy(manifest.bytes).map(({ digest }) => digest)).toEqual(blobs.map(({ digest }) => digest));
});

test('an index names its children', () => {
  const { manifest, children } = multiPlatformImage();
  expect(namedBy(manifest.bytes).map(({ digest }) => digest)).toEqual(children.map(({ digest }) => digest));
});

test('a subject is not among the descriptors of a manifest', () => {
  const subject = image().manifest;
  const named = namedBy(referrerOf(subject).manifest.bytes).map(({ digest }) => digest);
  expect(named).not.toContain(subject.digest);
  expect(named).toHaveLength(2);
});

test('a foreign layer is not among the descriptors (CVE-2020-15157)', () => {
  const elsewhere = { ...two, urls: ['https://elsewhere.test/layer'] };
  expect(namedBy(bytesOf({ config: one, layers: [elsewhere, three] }))).toEqual([one, three]);
  expect(namedBy(bytesOf({ config: one, layers: [{ ...two, urls: [] }] }))).toEqual([one]);
});

test('a repeated digest is listed once', () => {
  expect(namedBy(bytesOf({ config: one, layers: [two, two, one, three] }))).toEqual([one, two, three]);
});

test('a manifest has at most a thousand descriptors, and none if it is larger than 1 MiB', () => {
  const layers = Array.from({ length: 3_000 }, (_, number) => descriptorOf(randomBlob(10, `layer ${number}`)));
  expect(namedBy(bytesOf({ config: one, layers }))).toEqual([one, ...layers.slice(0, 999)]);
  const annotations = { long: 'x'.repeat(1024 * 1024) };
  expect(namedBy(bytesOf({ config: one, layers, annotations }))).toEqual([]);
});

test.each([
  { what: 'without a digest', descriptor: { ...one, digest: undefined } },
  { what: 'with a digest that is none', descriptor: { ...one, digest: 'sha256:abc' } },
  { what: 'without a type', descriptor: { ...one, mediaType: undefined } },
  { what: 'without a size', descriptor: { ...one, size: undefined } },
  { what: 'with a size below nothing', descriptor: { ...one, size: -1 } },
  { what: 'with half a byte', descriptor: { ...one, size: 1.5 } },
  { what: 'with a size beyond all numbers', descriptor: { ...one, size: 2 ** 60 } },
  { what: 'with a size in words', descriptor: { ...one, size: '10' } },
])('an entry $what is not a descriptor', ({ descriptor }) => {
  expect(isDescriptor(descriptor)).toBe(false);
  expect(namedBy(bytesOf({ config: descriptor, layers: [two] }))).toEqual([two]);
});

test.each([
  { what: 'no JSON', bytes: Buffer.from('<html>') },
  { what: 'nothing', bytes: Buffer.alloc(0) },
  { what: 'half a manifest', bytes: bytesOf({ config: one }).subarray(0, 20) },
  { what: 'a list', bytes: bytesOf([one]) },
  { what: 'null', bytes: bytesOf(null) },
  { what: 'layers that are no list', bytes: bytesOf({ layers: { 0: one } }) },
])('$what has no descriptors', ({ bytes }) => {
  expect(namedBy(bytes)).toEqual([]);
});

test('no bytes make the parser throw', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        expect(namedBy(bytes)).toEqual([]);
      },
    ),
  );
});

test.each([
  { manifest: { mediaType: 'application/vnd.example+json' }, expected: 'application/vnd.example+json' },
  { manifest: { mediaType: 5 }, expected: undefined },
  { manifest: { mediaType: 'application/vnd.\u{1f600}+json' }, expected: undefined },
  { manifest: {}, expected: undefined },
  { manifest: [], expected: undefined },
])('$manifest claims the type $expected', ({ manifest, expected }) => {
  expect(manifestShapeOf(bytesOf(manifest))?.mediaType).toBe(expected);
});

test.each([
  { manifest: { schemaVersion: 2 }, expected: true },
  { manifest: { config: {}, layers: [] }, expected: true },
  { manifest: { manifests: [] }, expected: true },
  { manifest: {}, expected: false },
  { manifest: { errors: [{ code: 'UNKNOWN' }] }, expected: false },
])('$manifest has the fields of a manifest: $expected', ({ manifest, expected }) => {
  expect(manifestShapeOf(bytesOf(manifest))?.hasManifestFields).toBe(expected);
});

test.each(['', '[]', '"text"', 'null', '<html></html>', '{"schemaVersion":2,"layers":['])(
  '%j is not a manifest',
  (text) => {
    expect(manifestShapeOf(Buffer.from(text))).toBeUndefined();
  },
);
