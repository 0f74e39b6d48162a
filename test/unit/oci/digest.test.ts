import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { algorithmOf, digestFrom, digestOf, hexOf, isDigest, parseDigest } from '../../../src/oci/digest.ts';

const sha256 = `sha256:${'0a'.repeat(32)}`;
const sha512 = `sha512:${'0a'.repeat(64)}`;

test.each([
  { text: sha256, algorithm: 'sha256', hex: '0a'.repeat(32) },
  { text: sha512, algorithm: 'sha512', hex: '0a'.repeat(64) },
])('$algorithm is an algorithm we can verify', ({ text, algorithm, hex }) => {
  const digest = parseDigest(text);
  expect({ algorithm: algorithmOf(digest), hex: hexOf(digest) }).toEqual({ algorithm, hex });
});

test.each([
  { what: 'nothing', text: '' },
  { what: 'no algorithm', text: '0a'.repeat(32) },
  { what: 'an algorithm that is not registered', text: `md5:${'0a'.repeat(16)}` },
  { what: 'capital letters', text: sha256.toUpperCase() },
  { what: 'capital hex', text: `sha256:${'0A'.repeat(32)}` },
  { what: 'too few', text: sha256.slice(0, -1) },
  { what: 'too many', text: `${sha256}0` },
  { what: 'the length of the other algorithm', text: `sha512:${'0a'.repeat(32)}` },
  { what: 'a line break behind it', text: `${sha256}\n` },
  { what: 'a line before it', text: `x\n${sha256}` },
  { what: 'a path', text: `sha256:../../${'0a'.repeat(29)}` },
])('$what is rejected as a digest', ({ text }) => {
  expect(isDigest(text)).toBe(false);
  expect(() => parseDigest(text)).toThrow(expect.objectContaining({ name: 'OciError', code: 'DIGEST_INVALID' }));
});

test.each([[undefined], [null], [5], [{}], [[sha256]]])('%j is rejected as a digest', (value) => {
  expect(isDigest(value)).toBe(false);
});

test('a digest is computed with its algorithm', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.constantFrom('sha256' as const, 'sha512' as const), (bytes, algorithm) => {
      const digest = digestOf(bytes, algorithm);
      expect(digest).toBe(`${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`);
      expect(isDigest(digest)).toBe(true);
      expect(digestFrom(createHash(algorithm).update(bytes), algorithm)).toBe(digest);
    }),
  );
});
